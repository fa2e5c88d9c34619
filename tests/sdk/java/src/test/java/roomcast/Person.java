package roomcast;

import io.github.centrifugal.centrifuge.*;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** Somebody at the SDK who notes what they are told. */
final class Person extends EventListener implements AutoCloseable {
    final Notes<ConnectedEvent> connected = new Notes<>();
    final Notes<DisconnectedEvent> disconnected = new Notes<>();
    final Notes<ServerSubscribedEvent> served = new Notes<>();
    final Notes<ServerUnsubscribedEvent> unserved = new Notes<>();
    final Notes<ServerPublicationEvent> messages = new Notes<>();
    final Client client;

    /** Somebody with this token who fetches others there, and who has not connected yet. */
    Person(Server server, String token, Supplier<String> fetch) {
        Options options = new Options();
        options.setMinReconnectDelay(10);
        options.setMaxReconnectDelay(100);
        options.setTimeout((int) Notes.PATIENCE_S * 1000);
        if (token != null) {
            options.setToken(token);
        }
        if (fetch != null) {
            options.setTokenGetter(new ConnectionTokenGetter() {
                @Override
                public void getConnectionToken(ConnectionTokenEvent event, TokenCallback callback) {
                    answer(fetch, callback);
                }
            });
        }
        client = new Client(server.url(), options, this);
    }

    private static void answer(Supplier<String> fetch, TokenCallback callback) {
        String token = fetch.get();
        callback.Done(token == null ? new UnauthorizedException() : null, token);
    }

    /** A user who has connected by a good token. */
    static Person user(Server server, String user) {
        return new Person(server, Server.token("{\"sub\":\"" + user + "\",\"info\":{\"name\":\"" + user + "\"}}"), null).connect();
    }

    Person connect() {
        client.connect();
        connected.heard(1, "connects");
        return this;
    }

    Member member(String room, Consumer<SubscriptionOptions> wishes) throws DuplicateSubscriptionException {
        SubscriptionOptions options = new SubscriptionOptions();
        options.setMinResubscribeDelay(10);
        options.setMaxResubscribeDelay(100);
        wishes.accept(options);
        Member member = new Member();
        member.subscription = client.newSubscription(room, options, member);
        member.subscription.subscribe();
        return member;
    }

    Member enter(String room, Consumer<SubscriptionOptions> wishes) throws DuplicateSubscriptionException {
        Member member = member(room, wishes);
        member.entered.heard(1, "entries");
        return member;
    }

    static SubscriptionTokenGetter tokens(Supplier<String> fetch) {
        return new SubscriptionTokenGetter() {
            @Override
            public void getSubscriptionToken(SubscriptionTokenEvent event, TokenCallback callback) {
                answer(fetch, callback);
            }
        };
    }

    void publish(String room, String data) throws Exception {
        Person.<PublishResult>result(done -> client.publish(room, data.getBytes(StandardCharsets.UTF_8), done));
    }

    /** Waits for the result of a call. */
    static <T> T result(Consumer<ResultCallback<T>> call) throws Exception {
        CompletableFuture<T> future = new CompletableFuture<>();
        call.accept((error, result) -> {
            if (error == null) {
                future.complete(result);
            } else {
                future.completeExceptionally(error);
            }
        });
        return future.get(Notes.PATIENCE_S, TimeUnit.SECONDS);
    }

    @Override
    public void close() throws Exception {
        client.close(5000);
    }

    @Override
    public void onConnected(Client client, ConnectedEvent event) {
        connected.add(event);
    }

    @Override
    public void onDisconnected(Client client, DisconnectedEvent event) {
        disconnected.add(event);
    }

    @Override
    public void onSubscribed(Client client, ServerSubscribedEvent event) {
        served.add(event);
    }

    @Override
    public void onUnsubscribed(Client client, ServerUnsubscribedEvent event) {
        unserved.add(event);
    }

    @Override
    public void onPublication(Client client, ServerPublicationEvent event) {
        messages.add(event);
    }

    /** A person in one room. */
    static final class Member extends SubscriptionEventListener {
        final Notes<SubscribedEvent> entered = new Notes<>();
        final Notes<UnsubscribedEvent> left = new Notes<>();
        final Notes<PublicationEvent> heard = new Notes<>();
        final Notes<ClientInfo> joins = new Notes<>();
        final Notes<ClientInfo> leaves = new Notes<>();
        Subscription subscription;

        @Override
        public void onSubscribed(Subscription subscription, SubscribedEvent event) {
            entered.add(event);
        }

        @Override
        public void onUnsubscribed(Subscription subscription, UnsubscribedEvent event) {
            left.add(event);
        }

        @Override
        public void onPublication(Subscription subscription, PublicationEvent event) {
            heard.add(event);
        }

        @Override
        public void onJoin(Subscription subscription, JoinEvent event) {
            joins.add(event.getInfo());
        }

        @Override
        public void onLeave(Subscription subscription, LeaveEvent event) {
            leaves.add(event.getInfo());
        }
    }
}
