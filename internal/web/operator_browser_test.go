package web

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

func TestAnOperatorWithAKeyboardFindsWhyAMachineWasRefused(t *testing.T) {
	k := newDesk(t, furnished(t))
	ctx := browser(t, k.url)
	const machine = `a[href="/machine/00000000000000a2"]`
	var focused, picture, words, at string
	var marks []string
	err := chromedp.Run(ctx,
		chromedp.Navigate(k.url+k.door.Ticket()), // goes on by itself
		chromedp.WaitVisible(machine),
		chromedp.KeyEvent(kb.Tab),
		chromedp.Evaluate(`document.activeElement.textContent`, &focused),
		chromedp.Focus(machine), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(`.links`),
		chromedp.AttributeValue(`svg.wide`, "aria-label", &picture, nil),
		chromedp.Evaluate(`Array.from(document.querySelectorAll("svg.wide text.state"), t => t.textContent)`, &marks),
		chromedp.Text(`.refusal`, &words),
		chromedp.Location(&at),
	)
	if err != nil {
		t.Fatal(err)
	}
	if focused != "Skip to the content" || !strings.HasSuffix(at, "/machine/00000000000000a2") || !strings.Contains(words, "no trusted image has it") {
		t.Errorf("first focus on %q; at %s: %q", focused, at, words)
	}
	if !strings.Contains(picture, "Image: broken; Firmware and boot: not shown") || strings.Join(marks, "; ") != "? not shown; ✗ broken; ? not shown; ✓ held; ✓ held; ✗ broken; ? not shown" {
		t.Errorf("the picture says %q and shows %q", picture, marks)
	}
}

func TestNoOperatorsPageIsWiderThanAPhone(t *testing.T) {
	k := newDesk(t, furnished(t))
	k.asks("00000000000000c1", claims(map[string]any{"pcr11": strings.Repeat("W", 190), strings.Repeat("k", 190): strings.Repeat("v", 190)}))
	k.gets("00000000000000c1", strings.Repeat("long", 60), strings.Repeat("because", 80))
	ctx := browser(t, k.url)
	if err := chromedp.Run(ctx, chromedp.EmulateViewport(360, 740), chromedp.Navigate(k.url+k.door.Ticket()), chromedp.WaitVisible(`.asked`)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/machine/00000000000000c1", "/machine/00000000000000a3", "/log", "/images", "/configurations", "/policies", "/policies/resource/2?from=1", "/keys", "/health"} {
		var wide, has int
		err := chromedp.Run(ctx, chromedp.Navigate(k.url+path),
			chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide), chromedp.Evaluate(`window.innerWidth`, &has))
		if err != nil {
			t.Fatal(err)
		}
		if wide > has {
			t.Errorf("%s is %d wide on a screen of %d", path, wide, has)
		}
	}
}
