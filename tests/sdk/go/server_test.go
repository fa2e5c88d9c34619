// The server under test: the real binary on a loopback port, with tokens on, and a backend that signs them and commands it.
package sdk

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"
)

// How long anything may take before a test gives up.
const patience = 60 * time.Second

const config = `
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
name = "delta"
history_size = 1000
history_ttl = "1h"
force_recovery = true
allowed_delta_types = ["fossil"]
delta_publish = true
allow_subscribe_for_client = true

[[channel.namespaces]]
name = "closed"
history_size = 1000
history_ttl = "1h"
`

type server struct {
	t       *testing.T
	folder  string
	address string
	process *exec.Cmd
	log     bytes.Buffer
	ended   chan struct{}
}

var listening = regexp.MustCompile(`listening on http://(127\.0\.0\.1:\d+)`)

func start(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, folder: t.TempDir(), address: "127.0.0.1:0"}
	if err := os.WriteFile(filepath.Join(s.folder, "roomcast.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	s.t.Helper()
	file := filepath.Join(s.folder, "roomcast.toml")
	s.process = exec.Command(os.Getenv("ROOMCAST_BIN"), "serve", "--config", file, "--data-dir", s.folder, "--listen", s.address)
	output, err := s.process.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	found := make(chan string, 1)
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			s.log.WriteString(lines.Text() + "\n")
			if match := listening.FindStringSubmatch(lines.Text()); match != nil {
				found <- match[1]
			}
		}
	}()
	select {
	case s.address = <-found:
	case <-s.ended:
		s.t.Fatalf("the server does not say where it listens; it said:\n%s", s.log.String())
	case <-time.After(patience):
		s.t.Fatal("the server does not start")
	}
}

// stop lets the server drain, and holds that it ended well.
func (s *server) stop() {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	<-s.ended
	if err := s.process.Wait(); err != nil {
		s.t.Errorf("the server did not drain: %v\n%s", err, s.log.String())
	}
}

// crash ends the server as a crash would.
func (s *server) crash() {
	_ = s.process.Process.Kill()
	<-s.ended
	_ = s.process.Wait()
}

func (s *server) url() string {
	return "ws://" + s.address + "/connection/websocket"
}

// api calls a method of the server API as a backend does.
func (s *server) api(method string, body any) map[string]any {
	s.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, "http://"+s.address+"/api/"+method, bytes.NewReader(data))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("X-API-Key", "key")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	var answer struct {
		Result map[string]any
		Error  any
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Error != nil {
		s.t.Fatalf("%s: %s", method, text)
	}
	return answer.Result
}

type claims map[string]any

// token signs claims as a backend does.
func token(said claims) string {
	encode := func(value any) string {
		data, _ := json.Marshal(value)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	message := encode(claims{"alg": "HS256", "typ": "JWT"}) + "." + encode(said)
	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write([]byte(message))
	return message + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func in(seconds int64) int64 {
	return time.Now().Unix() + seconds
}

// notes is a list that is waited for.
type notes[T any] struct {
	mutex sync.Mutex
	items []T
}

func (n *notes[T]) add(item T) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.items = append(n.items, item)
}

func (n *notes[T]) all() []T {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return append([]T(nil), n.items...)
}

// heard waits until there are so many, and returns them.
func (n *notes[T]) heard(t *testing.T, count int, what string) []T {
	t.Helper()
	until(t, fmt.Sprintf("%d of %s", count, what), func() bool { return len(n.all()) >= count })
	return n.all()
}

// until waits for a condition, up to a limit.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
