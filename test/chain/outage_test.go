package chain

import (
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/wiring"
	"holdfast/test/port"
)

// Registry and broker are somebody else's process here, which is killed while
// a run pulls from the one and its machine proves itself to the other.
type service struct {
	caller
	registry, broker string // HOST:PORT
	ca               string
	process          *begun
}

func newService(t *testing.T, b *bench) *service {
	t.Helper()
	s := &service{caller: caller{t, b.builder.Installation.Dir()}, registry: port.Address(t), broker: port.Address(t)}
	s.ca = filepath.Join(b.builder.Installation.Keys(), "tls.crt")
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *service) start() {
	s.t.Helper()
	s.process = s.begin("serve", "--tls", "--registry-listen", s.registry, "--broker-listen", s.broker)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.broker)
		if err == nil {
			_ = conn.Close()
			return
		}
	}
	s.kill()
	s.t.Fatalf("does not serve: %s", s.process.says.String())
}

func (s *service) kill() {
	_ = s.process.cmd.Process.Kill()
	_ = s.process.await(s.t, 10*time.Second)
}

// Whatever was under way is told in one line that names the service; when that
// is started again, the same run works.
func TestAServiceKilledUnderARunIsNamedAndStartedAgainTheRunWorks(t *testing.T) {
	b := needs(t)
	t.Parallel()
	s, o := newService(t, b), newOutage(t, b, "outage")
	defer o.call("rm", "--force", o.name)
	n := seed(t)
	t.Logf("HOLDFAST_SEED=%d makes the same again", n)
	r := rand.New(rand.NewPCG(n, 0))
	s.good("image", "push", "--ca", s.ca, "oci:"+b.encrypted(t, b.redis), s.registry+"/outage:1")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(o.secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s.good("broker", "set", "--replace", "outage/secret/token", secret)
	defer s.call("broker", "delete", "outage/secret/token")
	s.good("broker", "trust", b.guest.Dir)
	o.words = []string{"run", "-q", "--name", o.name, "--guest", b.guest.Dir, "--broker", "https://" + s.broker, "--ca", s.ca,
		"--secret", "token=kbs:///outage/secret/token", "--publish", o.port + ":6379", "--entrypoint", "redis-server",
		s.registry + "/outage:1", "--", "--save", "", "--protected-mode", "no"}
	kills, within := 1, 8*time.Second
	if soak() {
		kills, within = 20, 20*time.Second
	}
	for range kills {
		s.killUnder(o, time.Duration(r.Float64()*float64(within)))
		s.start()
	}
	o.works()
}

// killUnder starts the run, has it authorised as soon as it says what it asks
// for, and kills the service when it is time.
func (s *service) killUnder(o *outage, after time.Duration) {
	s.t.Helper()
	_ = os.Remove(o.reportFile())
	p := o.begin(o.words...)
	began, killed, allowed, ended := time.Now(), false, false, false
	for ; !ended; time.Sleep(10 * time.Millisecond) {
		if !killed && time.Since(began) > after {
			s.kill()
			killed = true
		}
		allowed = allowed || s.allow(o)
		if killed && o.runs() {
			s.t.Logf("killed after %v: the workload runs already", after)
			o.good("stop", o.name)
			break
		}
		ended = len(p.end) > 0
	}
	code, says := p.await(s.t, time.Minute), strings.TrimSpace(p.says.String())
	s.t.Logf("killed after %v: %d: %s", after, code, says)
	_, port, _ := net.SplitHostPort(s.broker)
	named := strings.Contains(says, "10.0.2.2:"+port) || strings.Contains(says, s.registry)
	if ended && (code != 125 && code != 126 || !named || strings.Count(says, "holdfast: ") != 1) {
		s.t.Errorf("killed after %v: got exit code %d and %q, want one line that names %s or %s", after, code, says, s.registry, s.broker)
	}
}

func (o *outage) reportFile() string { return filepath.Join(o.state, "reports", o.name+".json") }

// allow has the broker's administrator authorise what the run asks for, once
// that is known.
func (s *service) allow(o *outage) bool {
	s.t.Helper()
	r, err := o.b.builder.Installation.Remembered(o.name)
	if err != nil {
		return false
	}
	words := []string{"broker", "allow", r.Configuration}
	for _, path := range r.Resources {
		words = append(words, "--resource", path)
	}
	s.good(words...)
	return true
}

// runs says whether the workload does.
func (o *outage) runs() bool {
	for _, r := range o.b.builder.Installation.Known() {
		if r.Name == o.name {
			return r.State == wiring.Live
		}
	}
	return false
}
