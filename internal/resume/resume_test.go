package resume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 10_000)

// served gives a server that calls fault for its first answers, and counts
// the bytes of those after them.
func served(t *testing.T, faults int32, fault http.HandlerFunc) (url string, asked *atomic.Int32, sent *atomic.Int64) {
	t.Helper()
	asked, sent = new(atomic.Int32), new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= faults {
			fault(w, r)
			return
		}
		http.ServeContent(counting{w, sent}, r, "x", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(server.Close)
	return server.URL, asked, sent
}

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// half sends the first half of what is asked for and breaks off.
func half(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	_, _ = w.Write(content[:len(content)/2])
	panic(http.ErrAbortHandler)
}

func read(t *testing.T, url string, offset int64) ([]byte, error) {
	t.Helper()
	return readWithin(t, url, offset, 20*time.Second)
}

// readWithin gives a server up that stands still for so long.
func readWithin(t *testing.T, url string, offset int64, stall time.Duration) ([]byte, error) {
	t.Helper()
	g := Getter{Backoff: time.Millisecond, Stall: stall}
	r, err := g.Open(t.Context(), url, offset)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestABrokenConnectionIsGoneOnWith(t *testing.T) {
	url, _, sent := served(t, 1, half)
	got, err := read(t, url, 0)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("got %d bytes and %v", len(got), err)
	}
	if want := int64(len(content) - len(content)/2); sent.Load() != want {
		t.Errorf("got %d bytes sent again, want the other half, %d", sent.Load(), want)
	}
}

func TestAServerWithoutRangesIsReadAllTheSame(t *testing.T) {
	url, _, _ := served(t, 100, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	got, err := read(t, url, 70_000)
	if err != nil || !bytes.Equal(got, content[70_000:]) {
		t.Errorf("got %d bytes and %v", len(got), err)
	}
}

func TestWhatPassesIsWaitedFor(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"busy":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"too many":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"standing still": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"cut off":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		stall := 20 * time.Second
		if name == "standing still" {
			stall = time.Second
		}
		url, asked, _ := served(t, tries-1, fault)
		if got, err := readWithin(t, url, 0, stall); err != nil || len(got) != len(content) || asked.Load() != tries {
			t.Errorf("%s: got %d bytes and %v with the %d. try", name, len(got), err, asked.Load())
		}
		url, asked, _ = served(t, 100, fault)
		if _, err := readWithin(t, url, 0, stall); err == nil || asked.Load() != tries {
			t.Errorf("%s for ever: got %v after %d tries, want %d", name, err, asked.Load(), tries)
		}
	}
}

func TestWhatStaysIsNotAskedAgain(t *testing.T) {
	for code, want := range map[int]string{404: "404 Not Found", 403: "403 Forbidden", 501: "501 Not Implemented"} {
		url, asked, _ := served(t, 100, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		var status *StatusError
		if _, err := read(t, url, 0); !errors.As(err, &status) || status.Code != code || err.Error() != want || asked.Load() != 1 {
			t.Errorf("%d: got %v after %d tries", code, err, asked.Load())
		}
	}
	url, _, _ := served(t, 0, nil)
	if _, err := read(t, url, int64(len(content))+5); !errors.Is(err, ErrRange) {
		t.Errorf("got %v, want ErrRange", err)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for word, want := range map[string]int32{"1": 2, "3600": 1} { // an hour is a refusal
		url, asked, _ := served(t, 1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", word)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		began := time.Now()
		_, err := read(t, url, 0)
		if asked.Load() != want || (err == nil) != (want == 2) || want == 2 && time.Since(began) < time.Second {
			t.Errorf("%s: got %v after %d tries and %v", word, err, asked.Load(), time.Since(began))
		}
	}
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for word, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "Mon, 04 May 2026 12:00:30 GMT": 30 * time.Second, "Mon, 04 May 2026 11:00:00 GMT": 0, "-1": 0, "soon": 0, "": 0,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {word}}, now); got != want {
			t.Errorf("%q: got %v, want %v", word, got, want)
		}
	}
}

func TestAnotherRangeThanWasAskedForIsRefused(t *testing.T) {
	url, _, _ := served(t, 100, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-9/10")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(content[:10])
	})
	if _, err := read(t, url, 5); err == nil || !strings.Contains(err.Error(), "Content-Range") {
		t.Errorf("got %v, want the range refused", err)
	}
}

func TestTheEndOfTheContextEndsItAll(t *testing.T) {
	url, _, _ := served(t, 100, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := (Getter{Backoff: time.Hour / 100}).Open(ctx, url, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
}
