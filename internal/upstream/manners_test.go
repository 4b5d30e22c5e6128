package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/internal/oci"
)

func TestAnUpstreamThatAsksForRestGetsIt(t *testing.T) {
	f, now := newFar(t), time.Now()
	s := f.load(one, Config{Now: func() time.Time { return now }})
	d := f.put("v1", "{}")
	if _, err := s.Manifest(t.Context(), "far.example/app", "v1", ""); err != nil {
		t.Fatal(err)
	}
	f.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	_, err := s.Manifest(t.Context(), "far.example/app", string(oci.SHA256([]byte("x"))), "")
	if err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	f.answer(nil)
	f.times("")
	now = now.Add(119 * time.Second)
	var rest *RestError
	if _, err = s.Manifest(t.Context(), "far.example/app", "v1", d); !errors.As(err, &rest) || rest.After() != time.Second || f.times("") != 0 {
		t.Errorf("a second before its time: got %v", err)
	}
	now = now.Add(time.Second)
	if _, err = s.Manifest(t.Context(), "far.example/app", "v1", d); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestAnUpstreamThatIsDownIsAskedMoreAndMoreSeldom(t *testing.T) {
	f, now := newFar(t), time.Now()
	s := f.load(one, Config{Now: func() time.Time { return now }})
	f.Close()
	var pauses []int
	for range 8 {
		if _, err := s.Manifest(t.Context(), "far.example/app", "v1", ""); err == nil {
			t.Fatal("a closed server answers")
		}
		wait := s.upstreams[0].manners.wait()
		pauses = append(pauses, int(wait.Seconds()))
		now = now.Add(wait)
	}
	// a login asks by https first, as the client library has it, but never goes there
	if first, last := pauses[0], pauses[7]; first > 2 || last != 30 {
		t.Errorf("got %v", pauses)
	}
}

func TestRedirectsThatNobodyMayFollow(t *testing.T) {
	request := func(method, from, to string) *http.Request {
		a, _ := url.Parse(from)
		b, _ := url.Parse(to)
		return &http.Request{Method: method, URL: b, Response: &http.Response{Request: &http.Request{URL: a}}}
	}
	for _, c := range []struct {
		method, from, to string
		works            bool
	}{
		{"GET", "https://a.example/", "https://cdn.example/", true},
		{"GET", "http://127.0.0.1:1/", "http://127.0.0.1:2/", true},
		{"GET", "https://a.example/", "http://cdn.example/", false},
		{"GET", "https://a.example/", "https://127.0.0.1/", false},
		{"GET", "https://a.example/", "https://169.254.169.254/", false},
		{"GET", "https://a.example/", "https://[::1]/", false},
		{"POST", "https://a.example/token", "https://b.example/token", false},
		{"POST", "https://a.example/token", "https://a.example/other", true},
	} {
		if err := checkRedirect(request(c.method, c.from, c.to)); c.works != (err == nil) {
			t.Errorf("%s from %s to %s: %v", c.method, c.from, c.to, err)
		}
	}
}

// drip gives a byte after each pause.
type drip struct{ pause time.Duration }

func (d drip) Read(p []byte) (int, error) {
	time.Sleep(d.pause)
	return 1, nil
}

func (drip) Close() error { return nil }

func TestABodyThatComesTooSlowlyIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for pause, works := range map[time.Duration]bool{time.Second: false, 500 * time.Microsecond: true} {
			began := time.Now()
			f := &floor{ReadCloser: drip{pause}, slowest: 1024, now: time.Now}
			_, err := io.Copy(io.Discard, io.LimitReader(f, 200_000))
			if works != (err == nil) || !works && time.Since(began) > 2*window {
				t.Errorf("a byte each %v: %v after %v", pause, err, time.Since(began))
			}
		}
	})
}

func TestAReaderThatTakesItsTimeIsNotTheUpstreamsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &floor{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", 100))), slowest: 1024, now: time.Now}
		for {
			_, err := f.Read(make([]byte, 1))
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestABusyUpstreamIsWaitedForIfItIsNotLong(t *testing.T) {
	f := newFar(t)
	s := f.load(one, Config{})
	f.blobs[string(oci.SHA256([]byte("x")))] = []byte("x")
	times := 0
	f.answer(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/" {
			return
		}
		if times++; times == 1 {
			w.Header().Set("Retry-After", strconv.Itoa(1))
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, "x")
	})
	body, _, err := s.Blob(t.Context(), "far.example/app", oci.SHA256([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); string(got) != "x" || err != nil || times != 2 {
		t.Errorf("got %q, %v after %d requests", got, err, times)
	}
}
