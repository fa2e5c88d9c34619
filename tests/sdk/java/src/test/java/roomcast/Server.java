package roomcast;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** The server under test: the real binary on a loopback port, with tokens on, and a backend that signs them and commands it. */
final class Server implements AutoCloseable {
    private static final Pattern LISTENING = Pattern.compile("listening on http://(127\\.0\\.0\\.1:\\d+)");
    private static final String CONFIG = """
        [client]
        ping_interval = "1h"
        pong_timeout = "59m"
        stale_close_delay = "60s"

        [client.token]
        hmac_secret_key = "secret"

        [http_api]
        key = "key"

        [channel.without_namespace]
        history_size = 1000
        history_ttl = "1h"
        storage = "stored"
        presence = true
        join_leave = true
        allow_recovery = true
        allow_subscribe_for_client = true
        allow_publish_for_client = true
        allow_history_for_client = true
        allow_presence_for_client = true

        [[channel.namespaces]]
        name = "closed"
        history_size = 1000
        history_ttl = "1h"
        """;

    private final Path folder = Files.createTempDirectory("roomcast-sdk-");
    private final StringBuffer log = new StringBuffer();
    private String address = "127.0.0.1:0";
    private Process process;

    Server() throws Exception {
        Files.writeString(folder.resolve("roomcast.toml"), CONFIG);
        start();
    }

    void start() throws Exception {
        process = new ProcessBuilder(
            System.getenv("ROOMCAST_BIN"), "serve", "--config", folder.resolve("roomcast.toml").toString(),
            "--data-dir", folder.toString(), "--listen", address).redirectErrorStream(true).start();
        CompletableFuture<String> found = new CompletableFuture<>();
        Thread reader = new Thread(() -> read(process, found));
        reader.setDaemon(true);
        reader.start();
        address = found.get(Notes.PATIENCE_S, TimeUnit.SECONDS);
    }

    private void read(Process process, CompletableFuture<String> found) {
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                log.append(line).append('\n');
                Matcher match = LISTENING.matcher(line);
                if (match.find()) {
                    found.complete(match.group(1));
                }
            }
        } catch (IOException end) {
            log.append(end).append('\n');
        }
        found.completeExceptionally(new IllegalStateException("the server does not say where it listens:\n" + log));
    }

    /** Ends the server as a crash would. */
    void crash() throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    /** Lets the server drain, and holds that it ended well. */
    @Override
    public void close() throws Exception {
        process.destroy();
        if (!process.waitFor(Notes.PATIENCE_S, TimeUnit.SECONDS) || process.exitValue() != 0) {
            process.destroyForcibly();
            throw new IllegalStateException("the server did not drain:\n" + log);
        }
    }

    String url() {
        return "ws://" + address + "/connection/websocket";
    }

    /** Calls a method of the server API as a backend does. */
    String api(String method, String body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + address + "/api/" + method))
            .header("X-API-Key", "key").POST(HttpRequest.BodyPublishers.ofString(body)).build();
        String answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
        if (!answer.startsWith("{\"result\"")) {
            throw new IllegalStateException(method + ": " + answer);
        }
        return answer;
    }

    /** Signs claims as a backend does. */
    static String token(String claims) {
        try {
            Base64.Encoder encoder = Base64.getUrlEncoder().withoutPadding();
            String message = encoder.encodeToString("{\"alg\":\"HS256\",\"typ\":\"JWT\"}".getBytes(StandardCharsets.UTF_8)) + "."
                + encoder.encodeToString(claims.getBytes(StandardCharsets.UTF_8));
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec("secret".getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
            return message + "." + encoder.encodeToString(mac.doFinal(message.getBytes(StandardCharsets.UTF_8)));
        } catch (java.security.GeneralSecurityException none) {
            throw new IllegalStateException(none);
        }
    }

    static long in(long seconds) {
        return System.currentTimeMillis() / 1000 + seconds;
    }
}
