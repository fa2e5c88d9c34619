package roomcast;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.centrifugal.centrifuge.*;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class SuiteTest {
    private Server server;

    @BeforeEach
    void start() throws Exception {
        server = new Server();
    }

    @AfterEach
    void stop() throws Exception {
        server.close();
    }

    private static String text(byte[] data) {
        return new String(data, StandardCharsets.UTF_8);
    }

    @Test
    void messagesHistoryAndPresence() throws Exception {
        try (Person one = Person.user(server, "ann"); Person other = Person.user(server, "ben")) {
            Person.Member ann = one.enter("hall", options -> options.setJoinLeave(true));
            Person.Member ben = other.enter("hall", options -> {});
            ClientInfo join = ann.joins.heard(2, "joins").get(1);
            assertEquals("ben", join.getUser());
            assertEquals("{\"name\":\"ben\"}", text(join.getConnInfo()));
            other.publish("hall", "{\"text\":\"hello\"}");
            PublicationEvent heard = ann.heard.heard(1, "messages").get(0);
            assertEquals("{\"text\":\"hello\"}", text(heard.getData()));
            assertEquals(1, heard.getOffset());
            assertEquals("ben", heard.getInfo().getUser());
            HistoryOptions limit = new HistoryOptions.Builder().withLimit(10).build();
            HistoryResult history = Person.result(done -> ann.subscription.history(limit, done));
            assertEquals(1, history.getPublications().size());
            assertEquals(1, history.getOffset());
            assertFalse(history.getEpoch().isEmpty());
            PresenceResult here = Person.result(ann.subscription::presence);
            assertEquals(2, here.getClients().size());
            ben.subscription.unsubscribe();
            assertEquals("ben", ann.leaves.heard(1, "leaves").get(0).getUser());
            PresenceStatsResult stats = Person.result(ann.subscription::presenceStats);
            assertEquals(List.of(1, 1), List.of(stats.getNumClients(), stats.getNumUsers()));
        }
    }

    @Test
    void tokensSayWhoSomebodyIs() throws Exception {
        AtomicInteger asked = new AtomicInteger();
        String late = Server.token("{\"sub\":\"ann\",\"exp\":" + Server.in(-60) + "}");
        try (Person ann = new Person(server, late, () -> {
            asked.incrementAndGet();
            return Server.token("{\"sub\":\"ann\",\"exp\":" + Server.in(3600) + "}");
        })) {
            ann.connect();
            assertEquals(1, asked.get());
        }
        for (String wrong : List.of("nonsense", Server.token("{\"sub\":\"ann\"}") + "A", Server.token("{\"channel\":\"hall\"}"))) {
            try (Person stranger = new Person(server, wrong, null)) {
                stranger.client.connect();
                assertEquals(3500, stranger.disconnected.heard(1, "closes").get(0).getCode());
            }
        }
        try (Person nobody = new Person(server, null, () -> null)) {
            nobody.client.connect();
            nobody.disconnected.heard(1, "closes");
        }
    }

    @Test
    void tokensAreRefreshed() throws Exception {
        AtomicInteger asked = new AtomicInteger();
        try (Person ann = new Person(server, null, () -> {
            asked.incrementAndGet();
            return Server.token("{\"sub\":\"ann\",\"exp\":" + Server.in(2) + "}");
        })) {
            ann.connect();
            Notes.until(() -> asked.get() >= 3, "three tokens");
            assertEquals(1, ann.connected.all().size());
            assertTrue(ann.disconnected.all().isEmpty());
            AtomicInteger fetched = new AtomicInteger();
            Person.Member member = ann.enter("closed:hall", options -> options.setTokenGetter(Person.tokens(() -> {
                fetched.incrementAndGet();
                return Server.token("{\"sub\":\"ann\",\"channel\":\"closed:hall\",\"exp\":" + Server.in(2) + "}");
            })));
            Notes.until(() -> fetched.get() >= 3, "three tokens of the room");
            assertEquals(1, member.entered.all().size());
            assertTrue(member.left.all().isEmpty());
        }
    }

    @Test
    void roomsOpenByTheirTokens() throws Exception {
        try (Person ann = Person.user(server, "ann")) {
            Person.Member closed = ann.member("closed:other", options -> {});
            assertEquals(103, closed.left.heard(1, "refusals").get(0).getCode());
            AtomicInteger asked = new AtomicInteger();
            // To a first token that is past its time this SDK only says so: it fetches no other, from no server.
            Person.Member opened = ann.enter("$closed:hall", options -> options.setTokenGetter(Person.tokens(() -> {
                asked.incrementAndGet();
                return Server.token("{\"sub\":\"ann\",\"channel\":\"$closed:hall\"}");
            })));
            assertEquals(1, asked.get());
            server.api("publish", "{\"channel\":\"$closed:hall\",\"data\":1}");
            opened.heard.heard(1, "messages");
            ExecutionException refused = assertThrows(ExecutionException.class, () -> ann.publish("closed:hall", "1"));
            assertEquals(103, ((ReplyError) refused.getCause()).getCode());
        }
    }

    @Test
    void whatWasMissedIsRecoveredAfterACrash() throws Exception {
        try (Person one = Person.user(server, "ann")) {
            Person.Member ann = one.enter("hall", options -> options.setRecoverable(true));
            for (int round = 0; round < 3; round++) {
                if (round > 0) {
                    server.crash();
                    server.start();
                }
                for (int number = 0; number < 5; number++) {
                    server.api("publish", "{\"channel\":\"hall\",\"data\":" + (round * 5 + number) + "}");
                }
                ann.heard.heard((round + 1) * 5, "messages");
            }
            int number = 0;
            for (PublicationEvent message : ann.heard.all()) {
                assertEquals(String.valueOf(number), text(message.getData()));
                assertEquals(++number, message.getOffset());
            }
            for (SubscribedEvent entry : ann.entered.all().subList(1, ann.entered.all().size())) {
                assertTrue(entry.wasRecovering() && entry.getRecovered());
            }
        }
    }

    @Test
    void theServerPutsPeopleInAndOut() throws Exception {
        String invited = Server.token("{\"sub\":\"ann\",\"subs\":{\"closed:hall\":{\"data\":{\"welcome\":true}}}}");
        try (Person ann = new Person(server, invited, null).connect()) {
            ServerSubscribedEvent served = ann.served.heard(1, "rooms").get(0);
            assertEquals("closed:hall", served.getChannel());
            assertEquals("{\"welcome\":true}", text(served.getData()));
            server.api("subscribe", "{\"user\":\"ann\",\"channel\":\"closed:more\"}");
            ann.served.heard(2, "rooms");
            server.api("publish", "{\"channel\":\"closed:hall\",\"data\":1}");
            server.api("publish", "{\"channel\":\"closed:more\",\"data\":2}");
            ann.messages.heard(2, "messages");
            server.api("unsubscribe", "{\"user\":\"ann\",\"channel\":\"closed:more\"}");
            assertEquals("closed:more", ann.unserved.heard(1, "goodbyes").get(0).getChannel());
            Person.Member member = ann.enter("hall", options -> {});
            server.api("unsubscribe", "{\"user\":\"ann\",\"channel\":\"hall\"}");
            assertEquals(2000, member.left.heard(1, "goodbyes").get(0).getCode());
            server.api("disconnect", "{\"user\":\"ann\",\"disconnect\":{\"code\":4501,\"reason\":\"go home\"}}");
            DisconnectedEvent end = ann.disconnected.heard(1, "closes").get(0);
            assertEquals(4501, end.getCode());
            assertEquals("go home", end.getReason());
        }
    }
}
