package story

import (
	"bufio"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"holdfast/internal/attest/kbc"
)

// A tap hears what a machine and its broker say that opens something.
type tap struct {
	mu    sync.Mutex
	heard []string
}

func (p *tap) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range resp.Cookies() {
		p.heard = append(p.heard, c.Value)
	}
	if _, token, ok := strings.Cut(q.Header.Get("Authorization"), "Bearer "); ok {
		p.heard = append(p.heard, token)
	}
	return resp, nil
}

// page starts the pages in a process of their own, and returns the link that
// opens them.
func (h *house) page() string {
	h.Helper()
	c := h.command("broker", "page")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	h.check(err)
	h.check(c.Start())
	h.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, out)
		h.check(c.Wait())
	})
	link, err := bufio.NewReader(out).ReadString('\n')
	h.check(err)
	return strings.TrimSpace(link)
}

var href = regexp.MustCompile(`href="(/[^"]*)"`)

// everyPage follows all links of a site, from its first page on.
func everyPage(t testing.TB, client *http.Client, link string) map[string]string {
	t.Helper()
	at, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	site := at.Scheme + "://" + at.Host
	all, next := map[string]string{}, []string{at.Path, "/"}
	for len(next) > 0 && len(all) < 100 {
		path := next[0]
		next = next[1:]
		if _, seen := all[path]; seen {
			continue
		}
		resp, err := client.Get(site + path)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		resp.Body.Close()
		all[path] = string(page)
		for _, m := range href.FindAllStringSubmatch(string(page), -1) {
			next = append(next, strings.ReplaceAll(m[1], "&amp;", "&"))
		}
	}
	return all
}

// A machine is given a secret; the operator looks at everything there is.
func TestNothingThatOpensIsOnTheOperatorsPages(t *testing.T) {
	h := newHouse(t)
	heard := &tap{}
	c, err := kbc.New(kbc.Config{URL: h.url, HTTP: &http.Client{Transport: heard}, Attester: h.machine, InitData: []byte(configuration)})
	h.check(err)
	t.Cleanup(c.Close)
	h.gets(c, "first")
	jar, err := cookiejar.New(nil)
	h.check(err)
	link := h.page()
	browser := &http.Client{Jar: jar}
	pages := everyPage(t, browser, link)
	at, err := url.Parse(link)
	h.check(err)
	opens := append(heard.heard, secret, strings.TrimPrefix(at.Path, "/enter/"))
	for _, c := range jar.Cookies(at) {
		opens = append(opens, c.Value)
	}
	slices.Sort(opens)
	opens = slices.Compact(opens)
	if len(heard.heard) < 2 || len(opens) < 5 {
		t.Fatalf("got %d words, want the secret, the machine's cookie and token, the link's and the browser's", len(opens))
	}
	machines := 0
	for path, page := range pages {
		if strings.HasPrefix(path, "/machine/") && strings.Contains(page, "default/key/x") {
			machines++
		}
		for _, word := range opens {
			if strings.Contains(page, word) {
				t.Errorf("%s has %q", path, word)
			}
		}
	}
	if machines != 1 || len(pages) < 9 {
		t.Errorf("%d pages were read, of them %d of the machine: this shows little", len(pages), machines)
	}
	out, err := h.command("broker", "audit").Output()
	h.check(err)
	if n := strings.Count(string(out), `"action":"open-page"`); n != 1 {
		t.Errorf("the audit log tells %d times that the page was opened", n)
	}
}
