package sdk

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

// person is somebody at the SDK who notes what they are told.
type person struct {
	t            *testing.T
	client       *centrifuge.Client
	connected    notes[centrifuge.ConnectedEvent]
	connecting   notes[centrifuge.ConnectingEvent]
	disconnected notes[centrifuge.DisconnectedEvent]
	served       notes[centrifuge.ServerSubscribedEvent]
	unserved     notes[centrifuge.ServerUnsubscribedEvent]
	messages     notes[centrifuge.ServerPublicationEvent]
}

// arrive makes a person with these options, who has not connected yet.
func arrive(t *testing.T, s *server, isProtobuf bool, options centrifuge.Config) *person {
	options.MinReconnectDelay = 10 * time.Millisecond
	options.MaxReconnectDelay = 100 * time.Millisecond
	options.ReadTimeout = patience
	p := &person{t: t}
	if isProtobuf {
		p.client = centrifuge.NewProtobufClient(s.url(), options)
	} else {
		p.client = centrifuge.NewJsonClient(s.url(), options)
	}
	p.client.OnConnected(p.connected.add)
	p.client.OnConnecting(p.connecting.add)
	p.client.OnDisconnected(p.disconnected.add)
	p.client.OnSubscribed(p.served.add)
	p.client.OnUnsubscribed(p.unserved.add)
	p.client.OnPublication(p.messages.add)
	t.Cleanup(p.client.Close)
	return p
}

// connect connects a user by a good token.
func connect(t *testing.T, s *server, isProtobuf bool, user string) *person {
	t.Helper()
	said := claims{"sub": user, "info": claims{"name": user}}
	p := arrive(t, s, isProtobuf, centrifuge.Config{Token: token(said)})
	p.connect()
	return p
}

func (p *person) connect() {
	p.t.Helper()
	if err := p.client.Connect(); err != nil {
		p.t.Fatal(err)
	}
	p.connected.heard(p.t, 1, "connects")
}

// member is a person in one room.
type member struct {
	*person
	subscription *centrifuge.Subscription
	entered      notes[centrifuge.SubscribedEvent]
	left         notes[centrifuge.UnsubscribedEvent]
	errors       notes[error]
	heard        notes[centrifuge.PublicationEvent]
	joins        notes[centrifuge.JoinEvent]
	leaves       notes[centrifuge.LeaveEvent]
}

func (p *person) member(room string, options centrifuge.SubscriptionConfig) *member {
	p.t.Helper()
	options.MinResubscribeDelay = 10 * time.Millisecond
	options.MaxResubscribeDelay = 100 * time.Millisecond
	subscription, err := p.client.NewSubscription(room, options)
	if err != nil {
		p.t.Fatal(err)
	}
	m := &member{person: p, subscription: subscription}
	subscription.OnSubscribed(m.entered.add)
	subscription.OnUnsubscribed(m.left.add)
	subscription.OnError(func(event centrifuge.SubscriptionErrorEvent) { m.errors.add(event.Error) })
	subscription.OnPublication(m.heard.add)
	subscription.OnJoin(m.joins.add)
	subscription.OnLeave(m.leaves.add)
	return m
}

func (p *person) enter(room string, options centrifuge.SubscriptionConfig) *member {
	p.t.Helper()
	m := p.member(room, options)
	if err := m.subscription.Subscribe(); err != nil {
		p.t.Fatal(err)
	}
	m.entered.heard(p.t, 1, "entries")
	return m
}

func (p *person) publish(room, data string) {
	p.t.Helper()
	if _, err := p.client.Publish(waiting(p.t), room, []byte(data)); err != nil {
		p.t.Fatal(err)
	}
}

func waiting(t *testing.T) context.Context {
	limited, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return limited
}

// refused holds that this is an error of the server with the code.
func refused(t *testing.T, err error, code uint32) {
	t.Helper()
	var told *centrifuge.Error
	if !errors.As(err, &told) || told.Code != code {
		t.Fatalf("expected error %d, got %v", code, err)
	}
}
