package sdk

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/centrifugal/centrifuge-go"
)

// each runs a test for JSON and for Protobuf, with a server of its own.
func each(t *testing.T, test func(*testing.T, *server, bool)) {
	for name, isProtobuf := range map[string]bool{"json": false, "protobuf": true} {
		t.Run(name, func(t *testing.T) { test(t, start(t), isProtobuf) })
	}
}

func TestMessagesHistoryAndPresence(t *testing.T) {
	each(t, func(t *testing.T, s *server, isProtobuf bool) {
		ann := connect(t, s, isProtobuf, "ann").enter("hall", centrifuge.SubscriptionConfig{JoinLeave: true, Recoverable: true})
		ben := connect(t, s, isProtobuf, "ben").enter("hall", centrifuge.SubscriptionConfig{})
		for _, join := range ann.joins.heard(t, 2, "joins")[1:2] {
			if join.User != "ben" || string(join.ConnInfo) != `{"name":"ben"}` {
				t.Fatalf("who is it? %+v", join)
			}
		}
		ben.publish("hall", `{"text":"hello"}`)
		heard := ann.heard.heard(t, 1, "messages")[0]
		if string(heard.Data) != `{"text":"hello"}` || heard.Offset != 1 || heard.Info == nil || heard.Info.User != "ben" {
			t.Fatalf("heard %+v", heard)
		}
		history, err := ann.subscription.History(waiting(t), centrifuge.WithHistoryLimit(10))
		if err != nil || len(history.Publications) != 1 || history.Offset != 1 || history.Epoch == "" {
			t.Fatalf("%+v, %v", history, err)
		}
		here, err := ann.subscription.Presence(waiting(t))
		if err != nil || len(here.Clients) != 2 {
			t.Fatalf("%+v, %v", here, err)
		}
		if err := ben.subscription.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		if leave := ann.leaves.heard(t, 1, "leaves")[0]; leave.User != "ben" {
			t.Fatalf("who left? %+v", leave)
		}
		stats, err := ann.subscription.PresenceStats(waiting(t))
		if err != nil || stats.NumClients != 1 || stats.NumUsers != 1 {
			t.Fatalf("%+v, %v", stats, err)
		}
	})
}

func TestTokensSayWhoSomebodyIs(t *testing.T) {
	each(t, func(t *testing.T, s *server, isProtobuf bool) {
		var asked atomic.Int64
		late := arrive(t, s, isProtobuf, centrifuge.Config{
			Token: token(claims{"sub": "ann", "exp": in(-60)}),
			GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
				asked.Add(1)
				return token(claims{"sub": "ann", "exp": in(3600)}), nil
			},
		})
		late.connect()
		if asked.Load() != 1 {
			t.Fatalf("asked %d times for a token", asked.Load())
		}
		for name, wrong := range map[string]string{
			"nonsense":       "nonsense",
			"another secret": token(claims{"sub": "ann"}) + "A",
			"of a room":      token(claims{"sub": "ann", "channel": "hall"}),
		} {
			stranger := arrive(t, s, isProtobuf, centrifuge.Config{Token: wrong})
			_ = stranger.client.Connect()
			if end := stranger.disconnected.heard(t, 1, "closes")[0]; end.Code != 3500 {
				t.Fatalf("%s: %+v", name, end)
			}
		}
		nobody := arrive(t, s, isProtobuf, centrifuge.Config{
			GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) { return "", centrifuge.ErrUnauthorized },
		})
		_ = nobody.client.Connect()
		nobody.disconnected.heard(t, 1, "closes")
	})
}

func TestTokensAreRefreshed(t *testing.T) {
	each(t, func(t *testing.T, s *server, isProtobuf bool) {
		var asked atomic.Int64
		ann := arrive(t, s, isProtobuf, centrifuge.Config{
			GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
				asked.Add(1)
				return token(claims{"sub": "ann", "exp": in(2)}), nil
			},
		})
		ann.connect()
		until(t, "three tokens", func() bool { return asked.Load() >= 3 })
		if len(ann.connected.all()) != 1 || len(ann.disconnected.all()) != 0 {
			t.Fatalf("%+v %+v", ann.connected.all(), ann.disconnected.all())
		}
		var fetched atomic.Int64
		member := ann.enter("closed:hall", centrifuge.SubscriptionConfig{
			GetToken: func(event centrifuge.SubscriptionTokenEvent) (string, error) {
				fetched.Add(1)
				return token(claims{"sub": "ann", "channel": event.Channel, "exp": in(2)}), nil
			},
		})
		until(t, "three tokens of the room", func() bool { return fetched.Load() >= 3 })
		if len(member.entered.all()) != 1 || len(member.left.all()) != 0 {
			t.Fatalf("%+v %+v", member.entered.all(), member.left.all())
		}
	})
}

func TestRoomsOpenByTheirTokens(t *testing.T) {
	each(t, func(t *testing.T, s *server, isProtobuf bool) {
		ann := connect(t, s, isProtobuf, "ann")
		closed := ann.member("closed:other", centrifuge.SubscriptionConfig{})
		_ = closed.subscription.Subscribe()
		if left := closed.left.heard(t, 1, "refusals")[0]; left.Code != 103 {
			t.Fatalf("%+v", left)
		}
		var asked atomic.Int64
		opened := ann.enter("$closed:hall", centrifuge.SubscriptionConfig{
			Token: token(claims{"sub": "ann", "channel": "$closed:hall", "exp": in(-60)}),
			GetToken: func(event centrifuge.SubscriptionTokenEvent) (string, error) {
				asked.Add(1)
				return token(claims{"sub": "ann", "channel": event.Channel}), nil
			},
		})
		if asked.Load() != 1 {
			t.Fatalf("asked %d times", asked.Load())
		}
		s.api("publish", claims{"channel": "$closed:hall", "data": 1})
		opened.heard.heard(t, 1, "messages")
		_, err := ann.client.Publish(waiting(t), "closed:hall", []byte("1"))
		refused(t, err, 103)
	})
}

func TestWhatWasMissedIsRecoveredAfterACrash(t *testing.T) {
	each(t, func(t *testing.T, s *server, isProtobuf bool) {
		ann := connect(t, s, isProtobuf, "ann").enter("hall", centrifuge.SubscriptionConfig{Recoverable: true})
		for number := range 5 {
			s.api("publish", claims{"channel": "hall", "data": number})
		}
		ann.heard.heard(t, 5, "messages")
		for round := 1; round <= 2; round++ {
			s.crash()
			s.start()
			for number := range 5 {
				s.api("publish", claims{"channel": "hall", "data": round*5 + number})
			}
			ann.heard.heard(t, (round+1)*5, "messages")
		}
		for number, message := range ann.heard.all() {
			if string(message.Data) != fmt.Sprint(number) || message.Offset != uint64(number+1) {
				t.Fatalf("message %d is %s at %d", number, message.Data, message.Offset)
			}
		}
		for _, entry := range ann.entered.all()[1:] {
			if !entry.WasRecovering || !entry.Recovered {
				t.Fatalf("%+v", entry)
			}
		}
	})
}

func TestTheServerPutsPeopleInAndOut(t *testing.T) {
	each(t, func(t *testing.T, s *server, isProtobuf bool) {
		ann := arrive(t, s, isProtobuf, centrifuge.Config{
			Token: token(claims{"sub": "ann", "subs": claims{"closed:hall": claims{"data": claims{"welcome": true}}}}),
		})
		ann.connect()
		served := ann.served.heard(t, 1, "rooms")[0]
		if served.Channel != "closed:hall" || string(served.Data) != `{"welcome":true}` {
			t.Fatalf("%+v", served)
		}
		s.api("subscribe", claims{"user": "ann", "channel": "closed:more"})
		ann.served.heard(t, 2, "rooms")
		s.api("publish", claims{"channel": "closed:hall", "data": 1})
		s.api("publish", claims{"channel": "closed:more", "data": 2})
		ann.messages.heard(t, 2, "messages")
		s.api("unsubscribe", claims{"user": "ann", "channel": "closed:more"})
		if left := ann.unserved.heard(t, 1, "goodbyes")[0]; left.Channel != "closed:more" {
			t.Fatalf("%+v", left)
		}
		member := ann.enter("hall", centrifuge.SubscriptionConfig{})
		s.api("unsubscribe", claims{"user": "ann", "channel": "hall"})
		if left := member.left.heard(t, 1, "goodbyes")[0]; left.Code != 2000 {
			t.Fatalf("%+v", left)
		}
		s.api("disconnect", claims{"user": "ann", "disconnect": claims{"code": 4501, "reason": "go home"}})
		if end := ann.disconnected.heard(t, 1, "closes")[0]; end.Code != 4501 || end.Reason != "go home" {
			t.Fatalf("%+v", end)
		}
	})
}

func TestDeltasBecomeWholeMessages(t *testing.T) {
	each(t, func(t *testing.T, s *server, isProtobuf bool) {
		ann := connect(t, s, isProtobuf, "ann").enter("delta:hall", centrifuge.SubscriptionConfig{Delta: centrifuge.DeltaTypeFossil})
		text := strings.Repeat("Wörter, die bleiben. ", 50)
		said := func(number int) string { return fmt.Sprintf(`{"number":%d,"text":"%s"}`, number, text) }
		const half = 100
		for number := range 2 * half {
			if number == half {
				// What comes meanwhile is recovered.
				if err := ann.subscription.Unsubscribe(); err != nil {
					t.Fatal(err)
				}
			}
			s.api("publish", claims{"channel": "delta:hall", "b64data": base64.StdEncoding.EncodeToString([]byte(said(number)))})
			if number == half+half/2 {
				if err := ann.subscription.Subscribe(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for number, message := range ann.heard.heard(t, 2*half, "messages") {
			if string(message.Data) != said(number) {
				t.Fatalf("message %d is %s", number, message.Data)
			}
		}
	})
}
