package attack

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func aReport() *Report {
	held := Result{Attack: Attack{Name: "one", Group: "secret", Promise: "nobody reads it", Change: "somebody tries", Want: Refusal{Broker, "no"}},
		Control: "the owner reads it", Verdict: Held, Got: Refusal{Broker, "no: sha256:" + strings.Repeat("ab", 32)}, Milliseconds: 1234}
	broken, wrong, failed := held, held, held
	broken.Name, broken.Verdict, broken.Got = "two", Broken, Broke("<script>alert(1)</script>")
	wrong.Name, wrong.Verdict, wrong.Got = "three", Wrong, Refusal{Guest, "something else"}
	failed.Name, failed.Verdict, failed.Got, failed.Error, failed.Control = "four", Failed, Refusal{}, "no disk left", "another control"
	return &Report{Time: time.Unix(1700000000, 0).UTC(), Version: "v0", Results: []Result{held, broken, wrong, failed},
		Count: map[Verdict]int{Held: 1, Broken: 1, Wrong: 1, Failed: 1}}
}

func TestThePageTellsEverythingAndNeedsNothing(t *testing.T) {
	var b strings.Builder
	if err := aReport().HTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		"1 of 4 attacks were held, 1 broke through, 1 refused for another reason, 1 failed in the lab", "Nobody reads it", "somebody tries",
		"refused by the broker", "no: sha256:abababab…", "1.2 s", "&lt;script&gt;", "something else", "expected of the broker", "no disk left",
		"the owner reads it", "another control", "14 November 2023",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if foreign := regexp.MustCompile(`(?i)<script|<link|<img|url\(|https?://|@import`).FindString(page); foreign != "" {
		t.Errorf("the page has %q", foreign)
	}
}

func TestTheSumSaysWhatIsWrong(t *testing.T) {
	r := aReport()
	if r.Held() {
		t.Error("a report with a broken attack is held")
	}
	r.Results, r.Count = r.Results[:1], map[Verdict]int{Held: 1}
	if got := r.Sum(); got != "1 of 1 attacks were held" || !r.Held() {
		t.Errorf("got %q, held %t", got, r.Held())
	}
	if got := r.Controls(); len(got) != 1 || got[0] != "the owner reads it" {
		t.Errorf("got controls %q", got)
	}
}
