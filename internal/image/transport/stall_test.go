package transport

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestATransferThatStandsStillIsGivenUp(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 12 { // moves, if slowly: longer in all than it may stand still
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(250 * time.Millisecond)
		}
		if r.URL.Path == "/stalls" {
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	client := http.Client{Transport: moving{&http.Transport{}, 2500 * time.Millisecond}}
	for path, want := range map[string]string{"/moves": "", "/stalls": "nothing moved for 2.5s"} {
		response, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if len(got) != 12 || want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: got %q and %v, want %q", path, got, err, want)
		}
	}
}

func TestAnUploadThatNobodyTakesIsGivenUp(t *testing.T) {
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	defer server.Close()
	defer close(over)
	client := http.Client{Transport: moving{&http.Transport{}, 200 * time.Millisecond}}
	_, err := client.Post(server.URL, "application/octet-stream", io.LimitReader(zeros{}, 1<<30))
	if err == nil || !strings.Contains(err.Error(), "nothing moved for 200ms") {
		t.Errorf("got %v, want the upload given up", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
