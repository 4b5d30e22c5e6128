package web

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser starts a headless Chromium. It fails the test for anything that a
// page asks of another host, and for anything that the browser complains of.
func browser(t *testing.T, url string) context.Context {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("looks at pages in Chromium: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.ExecPath("chromium"),
		chromedp.WSURLReadTimeout(2*time.Minute),      // until it has started
		chromedp.Flag("allow-pre-commit-input", true)) // or a key right behind a navigation is dropped
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, url) {
				t.Errorf("a page asks for %s", e.Request.URL)
			}
		case *log.EventEntryAdded:
			if !strings.Contains(e.Entry.URL, "favicon") {
				t.Errorf("the browser says: %s %s", e.Entry.Text, e.Entry.URL)
			}
		}
	})
	if err := chromedp.Run(ctx, network.Enable(), log.Enable()); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func TestAPersonWithAKeyboardFindsAnImage(t *testing.T) {
	s := newShelf(t, nil)
	s.image("team/app", "1.0", nil)
	ctx := browser(t, s.url)
	var focused, heading, at string
	err := chromedp.Run(ctx,
		chromedp.Navigate(s.url),
		chromedp.KeyEvent(kb.Tab), // over the jump to the content
		chromedp.Evaluate(`document.activeElement.textContent`, &focused),
		chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab),
		chromedp.KeyEvent("team"), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(`a[href="/repository/team/app"]`),
		chromedp.Focus(`a[href="/repository/team/app"]`), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(`a[href="/image/team/app:1.0"]`),
		chromedp.Focus(`a[href="/image/team/app:1.0"]`), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(`.tree`),
		chromedp.Text("h1", &heading),
		chromedp.Location(&at),
	)
	if err != nil {
		t.Fatal(err)
	}
	if focused != "Skip to the content" || heading != "1.0" || !strings.HasSuffix(at, "/image/team/app:1.0") {
		t.Errorf("first focus on %q; at %s, %q", focused, at, heading)
	}
}

func TestAPersonSeesWhatIsPinned(t *testing.T) {
	s := newShelf(t, nil)
	ctx := browser(t, s.url)
	var rows []string
	err := chromedp.Run(ctx, chromedp.Navigate(s.url), chromedp.WaitVisible(`.kept`),
		chromedp.Evaluate(`Array.from(document.querySelectorAll(".kept tbody tr"), r => r.innerText)`, &rows))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || !strings.Contains(rows[0], "bafkrei") || !strings.Contains(rows[1], "of several blocks") || !strings.Contains(rows[1], "3.1 MB") {
		t.Errorf("got %q", rows)
	}
}

func TestNoPageIsWiderThanAPhone(t *testing.T) {
	s := newShelf(t, nil)
	digest := s.image(strings.Repeat("long-name/", 8)+"app", "a-tag-"+strings.Repeat("x", 100), object{"annotations": object{strings.Repeat("k", 200): "v"}})
	name := strings.Repeat("long-name/", 8) + "app"
	ctx := browser(t, s.url)
	for _, path := range []string{"/", "/repository/" + name, "/image/" + name + "@" + digest} {
		var wide, has int
		err := chromedp.Run(ctx,
			chromedp.EmulateViewport(360, 740),
			chromedp.Navigate(s.url+path),
			chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide),
			chromedp.Evaluate(`window.innerWidth`, &has),
		)
		if err != nil {
			t.Fatal(err)
		}
		if wide > has {
			t.Errorf("%s is %d wide on a screen of %d", path, wide, has)
		}
	}
}
