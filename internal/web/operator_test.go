package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/audit"
	"holdfast/internal/policy"
	"holdfast/internal/wiring"
)

// A diary is a Watch over an audit log and decisions that tests write. What
// machines showed is a real machine's, recorded, or that with one change.
type diary struct {
	testing.TB
	dir       string
	decisions []api.RecordedDecision
	report    audit.Report
	read      int // bytes of the log
	trusted   []api.TrustedImage
}

func (d *diary) Log(_ context.Context, from audit.Mark, read func([]byte, audit.Mark) bool) error {
	return audit.Back(d.dir, from, func(line []byte, at audit.Mark) bool { d.read += len(line); return read(line, at) })
}
func (d *diary) Verify(context.Context) (audit.Report, error) { return d.report, nil }
func (d *diary) Decisions(_ context.Context, sessions []string, tell func(api.RecordedDecision)) error {
	for _, one := range d.decisions {
		for _, s := range sessions {
			if s == one.Session {
				tell(one)
			}
		}
	}
	return nil
}
func (d *diary) Images(context.Context) ([]api.TrustedImage, error) { return d.trusted, nil }
func (d *diary) Configurations(context.Context) ([]api.Configuration, error) {
	return []api.Configuration{{Digest: recordedConfiguration, Resources: []string{"recorded/run-secret/greeting", evil}, Since: day}}, nil
}
func (d *diary) Policy(_ context.Context, kind string) (api.PolicyInForce, error) {
	return api.PolicyInForce{Kind: kind, Version: 2, Policy: "package policy\n", Engine: "Rego v1"}, nil
}
func (d *diary) PolicyVersion(_ context.Context, kind string, n int64) (api.PolicyInForce, error) {
	if n > 2 {
		return api.PolicyInForce{}, fmt.Errorf("read it: %w", &admin.RefusedError{Status: http.StatusNotFound})
	}
	return api.PolicyInForce{Kind: kind, Version: n, Policy: policy.Resource + strings.Repeat("# "+evil+"\n", int(n))}, nil
}
func (d *diary) PolicyHistory(context.Context, string) ([]api.Version, error) {
	return []api.Version{{Number: 2, Time: day, Actor: "anna", Comment: evil, Digest: "sha256:00"}, {Number: 1, Time: day, Actor: "anna", Digest: "sha256:01"}}, nil
}
func (d *diary) Keys(context.Context) ([]wiring.KeyFacts, error) {
	return []wiring.KeyFacts{{Name: "token", Purpose: "signs attestation results", ID: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", From: day, Until: day.AddDate(1, 0, 0)},
		{Name: "token", Purpose: "signed attestation results", ID: "0YzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X", Until: day, Retired: true}}, nil
}
func (d *diary) Health(context.Context) (wiring.BrokerHealth, error) {
	return wiring.BrokerHealth{Free: 5 << 30, LogSize: 1 << 20, Resources: 3, Images: 1, Configurations: 1}, nil
}

var day = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

const (
	evil                  = "</td><script>alert(1)</script>\u202egnp.exe\x1b[31m\" onload=\"x"
	recordedConfiguration = "sha256:c298c81c9089a5b599ecea91743aae03d5c3f6ed99dc261cd58bbefaaa165e65"
)

func newDiary(t testing.TB) *diary { return &diary{TB: t, dir: t.TempDir()} }

func (d *diary) write(entries ...api.AuditEntry) {
	d.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, audit.File), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	for _, e := range entries {
		if e.Time.IsZero() {
			e.Time = day
		}
		line, err := json.Marshal(e)
		if err != nil {
			d.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	if _, err := f.Write(out.Bytes()); err != nil {
		d.Fatal(err)
	}
}

// asks has a machine ask that is as the recorded one, but for change. The
// policy that ships decides.
func (d *diary) asks(session string, change func(input, data map[string]any)) (allowed bool) {
	d.Helper()
	q, err := wiring.ReadQuestion("../proof/testdata/boot/proof.json", "attestation")
	if err != nil {
		d.Fatal(err)
	}
	input, data := map[string]any{}, map[string]any{}
	if err := json.Unmarshal(q.Input, &input); err != nil {
		d.Fatal(err)
	}
	if err := json.Unmarshal(q.Data, &data); err != nil {
		d.Fatal(err)
	}
	images := map[string]any{}
	for id, r := range data["reference"].(map[string]any) {
		v := r.(map[string]any)
		images[v["pcrs"].(map[string]any)["11"].(string)] = map[string]any{"status": "trusted", "image": v["image"], "uki": v["uki"], "references": []any{id}}
	}
	data["images"] = images
	if change != nil {
		change(input, data)
	}
	p, err := policy.Compile("attestation.rego", policy.Attestation)
	if err != nil {
		d.Fatal(err)
	}
	values, err := policy.NewData(data)
	if err != nil {
		d.Fatal(err)
	}
	answer, err := p.Ask(d.Context(), input, values)
	if err != nil {
		d.Fatal(err)
	}
	one := api.RecordedDecision{ID: int64(len(d.decisions) + 1), Session: session, Action: "attest", TEE: "tpm", Kind: "attestation", Allow: answer.Allow, Reasons: answer.Reasons}
	one.Input, _ = json.Marshal(input)
	one.Data, _ = json.Marshal(data)
	d.decisions = append(d.decisions, one)
	decision := map[bool]string{true: api.AuditAllow, false: api.AuditRefuse}[answer.Allow]
	d.write(api.AuditEntry{Action: "attest", Session: session, Decision: decision, Reasons: answer.Reasons, Peer: "192.0.2.7:40112",
		Offered: "sha256:994fb7ce850da6482ec6b1c9c7ae5eed158e99dbfcafc18571e0de5c6bd1a5ed", InitData: recordedConfiguration, Claims: &api.AuditClaims{}})
	return answer.Allow
}

func (d *diary) gets(session, resource string, reasons ...string) {
	e := api.AuditEntry{Action: "get-resource", Session: session, Decision: api.AuditAllow, Peer: "192.0.2.7:40112", InitData: recordedConfiguration, Resource: resource, Reasons: reasons}
	if len(reasons) > 0 {
		e.Decision = api.AuditRefuse
	} else {
		e.Proof, e.Value = "20261121T100000.000000000Z-"+session+"-0123456789abcdef", "hmac-sha256:00"
	}
	d.write(e)
}

// claims changes what was claimed.
func claims(changed map[string]any) func(input, data map[string]any) {
	return func(input, _ map[string]any) {
		for name, v := range changed {
			input["claims"].(map[string]any)[name] = v
		}
	}
}

// A desk is where an operator sits: pages, and a browser that was let in.
type desk struct {
	*diary
	door   *Door
	url    string
	client *http.Client
}

func newDesk(t testing.TB, d *diary) *desk {
	t.Helper()
	door := &Door{}
	server := httptest.NewServer((&Operator{Watch: d, Door: door, Version: "1"}).Handler())
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{d, door, server.URL, &http.Client{Jar: jar}}
}

func (k *desk) enter() *desk {
	k.Helper()
	if status, _ := k.see(http.MethodGet, k.door.Ticket()); status != http.StatusOK {
		k.Fatalf("the link is refused: %d", status)
	}
	return k
}

func (k *desk) see(method, path string) (int, string) {
	k.Helper()
	q, err := http.NewRequest(method, k.url+path, nil)
	if err != nil {
		k.Fatal(err)
	}
	res, err := k.client.Do(q)
	if err != nil {
		k.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		k.Fatal(err)
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'self';") {
		k.Errorf("%s: policy of content is %q", path, csp)
	}
	return res.StatusCode, string(body)
}

func (k *desk) shows(path string, wanted ...string) string {
	k.Helper()
	status, page := k.see(http.MethodGet, path)
	if status != http.StatusOK {
		k.Fatalf("%s: %d: %s", path, status, page)
	}
	for _, want := range wanted {
		if !strings.Contains(page, want) {
			k.Errorf("%s lacks %q", path, want)
		}
	}
	return page
}

// A furnished diary has one of each that people look for.
func furnished(t testing.TB) *diary {
	d := newDiary(t)
	d.report = audit.Report{Lines: 9, First: 1, Head: api.AuditHead{Seq: 9}, Signed: 8}
	d.asks("00000000000000a1", nil)
	d.gets("00000000000000a1", "recorded/run-secret/greeting")
	d.gets("00000000000000a1", "default/key/other", "configuration "+recordedConfiguration+" may not have resource default/key/other")
	d.asks("00000000000000a2", claims(map[string]any{"pcr11": strings.Repeat("ab", 32)}))
	d.asks("00000000000000a3", claims(map[string]any{"pcr07": strings.Repeat("cd", 32), "secure_boot": false}))
	d.write(api.AuditEntry{Action: "attest", Session: "00000000000000a4", Decision: api.AuditRefuse, Peer: "198.51.100.9:1022", Reasons: []string{"verify TEE evidence failed: evidence is not for this handshake"}})
	d.write(api.AuditEntry{Action: "auth", Decision: api.AuditRefuse, Peer: "198.51.100.9:1023", Reasons: []string{"endorsement is not trusted: " + evil}})
	d.asks("00000000000000a5", nil)
	d.gets("00000000000000a5", "recorded/run-secret/greeting")
	var values api.ReferenceValues
	values.Image, values.UKI = "guest", "sha256:fd8e5ab6496fea050373f703631830e5cb1c833846ec8469f8d35258165e2014"
	until := day.AddDate(0, 3, 0)
	d.trusted = []api.TrustedImage{{ID: "sha256:f04881d8bf5ffbb2a71328adb12e854136b28f021fbcddf95066ee7c8e8592b7", Values: values, Status: api.ImageTrusted, Until: &until},
		{ID: "sha256:" + strings.Repeat("e", 64), Values: api.ReferenceValues{Image: "old" + evil, UKI: "sha256:" + strings.Repeat("f", 64)}, Status: api.ImageRevoked, Revoked: &api.ImageRevocation{At: day, Reason: "its key leaked " + evil}}}
	return d
}

func TestRefusalsStandBesideReleasesWithTheirReasons(t *testing.T) {
	k := newDesk(t, furnished(t)).enter()
	page := k.shows("/", "✓ released", "✗ in part", "✗ refused", "recorded/run-secret/greeting", "no trusted image has it", "may not have resource", "endorsement is not trusted", "swtpm", "of <bdi>id:00001014", "evidence is not for this handshake")
	if n := strings.Count(page, `class="head"`); n != 6 {
		t.Errorf("%d machines are listed, want 6", n)
	}
	if strings.Index(page, "00000000000000a5") > strings.Index(page, "00000000000000a1") {
		t.Error("the latest is not first")
	}
	if only := k.shows("/?only=refused"); strings.Contains(only, "00000000000000a5") || !strings.Contains(only, "00000000000000a2") {
		t.Error("of refusals only: those and no others")
	}
}

// states are the links of a machine's chain in their order, h, b or n each.
func states(t *testing.T, page string) (s string) {
	t.Helper()
	_, list, _ := strings.Cut(page, `<ol class="links">`)
	for _, part := range strings.Split(list, `<li class="`)[1:] {
		if class, _, _ := strings.Cut(part, `"`); class == "held" || class == "broken" || class == "notshown" {
			s += class[:1]
		}
	}
	return s
}

func TestTheChainBreaksWhereTheMachineDiffers(t *testing.T) {
	k := newDesk(t, furnished(t)).enter()
	for id, test := range map[string]struct{ want, word string }{
		"00000000000000a5": {"hhhhhhh", "was built for"},
		"00000000000000a1": {"hhhhhhb", "may not have resource default/key/other"},
		"00000000000000a2": {"nbnhhbn", strings.Repeat("ab", 32)}, // recipe, image, firmware, configuration, evidence, policy, resource
		"00000000000000a3": {"hhbhhbn", "74031752569f0c0beb28c78d77f940a87a9718bad903e1561ba337032d98a6e8"},
		"00000000000000a4": {"nnnnbnn", "evidence is not for this handshake"},
	} {
		page := k.shows("/machine/"+id, test.word, `role="img" aria-label="Recipe and lock: `)
		if got := states(t, page); got != test.want {
			t.Errorf("%s: got %s, want %s", id, got, test.want)
		}
	}
}

func TestWhatWasRefusedBeforeASessionHasAPage(t *testing.T) {
	d := newDiary(t)
	d.write(api.AuditEntry{Action: "auth", Decision: api.AuditRefuse, Reasons: []string{"the first"}}, api.AuditEntry{Action: "auth", Decision: api.AuditRefuse, Reasons: []string{"the second"}})
	k := newDesk(t, d).enter()
	k.shows("/machine/1.0", "the first")
	for _, path := range []string{"/machine/1.1", "/machine/9.0", "/machine/0123456789abcdef", "/machine/x", "/nothing", "/policies/attestation/9", "/policies/x/1", "/?before=x"} {
		if status, _ := k.see(http.MethodGet, path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestAnImageThatWasRevokedBreaksTheChain(t *testing.T) {
	d := newDiary(t)
	d.asks("00000000000000b1", func(_, data map[string]any) {
		for _, v := range data["images"].(map[string]any) {
			v.(map[string]any)["status"], v.(map[string]any)["at"], v.(map[string]any)["reason"] = "revoked", "2026-11-20T00:00:00Z", "its key leaked"
		}
	})
	k := newDesk(t, d).enter()
	if got := states(t, k.shows("/machine/00000000000000b1", "its key leaked")); got[1] != 'b' {
		t.Errorf("got %s", got)
	}
}

func TestStrangersTextIsOnlyText(t *testing.T) {
	d := furnished(t)
	d.asks("00000000000000c1", func(input, _ map[string]any) {
		c := input["claims"].(map[string]any)
		c["tpm"] = map[string]any{"manufacturer": evil, "model": evil}
		c[evil], c["boot_programs"], c["uki_sections"] = evil, []any{evil}, map[string]any{evil: evil}
		input["init_data"].(map[string]any)["data"] = map[string]any{evil: "canary-of-the-configuration"}
	})
	d.gets("00000000000000c1", evil, strings.Repeat(evil, 10000))
	d.report = audit.Report{Problems: []audit.Problem{{File: "audit.jsonl", Line: 7, What: "it was moved"}}}
	k := newDesk(t, d).enter()
	for _, path := range []string{"/", "/machine/00000000000000c1", "/log", "/images", "/configurations", "/policies", "/policies/resource/2?from=1", "/keys", "/health", "/?before=%3Cscript%3E"} {
		_, page := k.see(http.MethodGet, path)
		for _, bad := range []string{"<script", "\u202e", "\x1b", `" onload="`, " style=", "canary-of-the-configuration", "http://", "https://"} {
			if strings.Contains(strings.ReplaceAll(page, "https://example", ""), bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if len(page) > 200<<10 {
			t.Errorf("%s is %d bytes", path, len(page))
		}
	}
	k.shows("/log", "The chain is broken", "line 7 of")
	k.shows("/policies/resource/2?from=1", `class="plus"`, "What changed since version 1")
}

func TestAPageOfTenThousandReadsLittle(t *testing.T) {
	d := newDiary(t)
	list := make([]api.AuditEntry, 0, 20000)
	for i := range 10000 {
		list = append(list, api.AuditEntry{Action: "attest", Session: fmt.Sprintf("%016x", i), Decision: api.AuditAllow, Claims: &api.AuditClaims{}},
			api.AuditEntry{Action: "get-resource", Session: fmt.Sprintf("%016x", i), Decision: api.AuditAllow, Resource: "a/b/c"})
	}
	d.write(list...)
	k := newDesk(t, d).enter()
	path, seen := "/", 0
	for range 3 {
		d.read = 0
		page := k.shows(path)
		seen += strings.Count(page, `class="head"`)
		if n := strings.Count(page, "✓ released"); n != maxAsked {
			t.Errorf("%s: %d of its machines got their resource", path, n)
		}
		if d.read > slack+64<<10 {
			t.Errorf("%s read %d bytes of the log", path, d.read)
		}
		_, next, ok := strings.Cut(page, `href="/?before=`)
		if !ok {
			t.Fatal("there is no next page")
		}
		next, _, _ = strings.Cut(next, `"`)
		path = "/?before=" + next
	}
	if seen != 3*maxAsked {
		t.Errorf("got %d machines on three pages", seen)
	}
}

func TestNothingOpensTheDoorTwice(t *testing.T) {
	now := day
	k := newDesk(t, newDiary(t))
	k.door.Now = func() time.Time { return now }
	forbidden := func(path, why string) {
		t.Helper()
		if status, page := k.see(http.MethodGet, path); status != http.StatusForbidden || strings.Contains(page, "Machines that asked") {
			t.Errorf("%s: got %d", why, status)
		}
	}
	for _, path := range []string{"/", "/log", "/keys", "/machine/00000000000000a1", "/nothing"} {
		forbidden(path, "without a session "+path)
	}
	link := k.door.Ticket()
	if status, _ := k.see(http.MethodHead, link); status != http.StatusForbidden {
		t.Errorf("HEAD spent the link: %d", status)
	}
	fresh := k.client.Jar
	if status, page := k.see(http.MethodGet, link); status != http.StatusOK || strings.Contains(page, link) {
		t.Errorf("the link: %d %s", status, page)
	}
	k.shows("/", "Machines that asked")
	k.client.Jar = nil
	forbidden(link, "the same link again")
	forbidden("/enter/"+strings.Repeat("A", 26), "a link that nobody made")
	old := k.door.Ticket()
	now = now.Add(ticketLife)
	forbidden(old, "a link of before")
	k.client.Jar = fresh
	k.shows("/")
	now = now.Add(sessionLife)
	forbidden("/", "a session that has ended")
}

func TestTheSessionsCookieIsTheBrowsersAlone(t *testing.T) {
	k := newDesk(t, newDiary(t))
	k.client.Jar = nil
	res, err := k.client.Get(k.url + k.door.Ticket())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	all := res.Cookies()
	if len(all) != 1 || !all[0].HttpOnly || all[0].SameSite != http.SameSiteStrictMode || all[0].Domain != "" || len(all[0].Value) < 26 {
		t.Errorf("got %+v", all)
	}
}

func TestLinksAndSessionsAreFew(t *testing.T) {
	d := &Door{}
	first := d.Ticket()
	for range 10 * maxOpen {
		d.Ticket()
	}
	if len(d.tickets) != maxOpen {
		t.Errorf("%d links are open", len(d.tickets))
	}
	q := httptest.NewRequest(http.MethodGet, first, nil)
	q.SetPathValue("ticket", strings.TrimPrefix(first, enterPath))
	if d.enter(httptest.NewRecorder(), q) {
		t.Error("the oldest link opens still")
	}
}

func TestThePagesOnlyRead(t *testing.T) {
	k := newDesk(t, furnished(t)).enter()
	before := files(t, k.dir)
	for _, path := range []string{"/", "/machine/00000000000000a1", "/log", "/images", "/configurations", "/policies", "/policies/attestation/1", "/keys", "/health"} {
		page := k.shows(path)
		if strings.Contains(page, "<form") || strings.Contains(page, "<button") {
			t.Errorf("%s has a form", path)
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			if status, _ := k.see(method, path); status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, status)
			}
		}
	}
	if after := files(t, k.dir); after != before {
		t.Errorf("the broker's folder was %s and is %s", before, after)
	}
}

func files(t *testing.T, dir string) (s string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		s += fmt.Sprintf("%s %d %s; ", f.Name(), info.Size(), info.ModTime())
	}
	return s
}

func TestWhatElseAnOperatorAsksIsSaid(t *testing.T) {
	d := newDiary(t)
	d.asks("00000000000000d1", nil)
	d.write(api.AuditEntry{Action: "attest", Session: "00000000000000d2", Decision: api.AuditAllow, InitData: recordedConfiguration, Claims: &api.AuditClaims{}, Devices: []string{"nvidia"}})
	d.gets("00000000000000d1", "pkcs11/unwrap-key/default/key/ledger")
	d.gets("00000000000000d1", "spiffe/svid/default/workload/web")
	d.write(api.AuditEntry{Action: "get-resource", Session: "00000000000000f1", Decision: api.AuditAllow, InitData: recordedConfiguration, Resource: "default/key/x", Subject: "token of https://verifier.example"})
	k := newDesk(t, d).enter()
	k.shows("/", "a token of <bdi>https://verifier.example</bdi>", "<dt>With</dt><dd><bdi>nvidia</bdi>", "<strong>Opened in the HSM with</strong> <code><bdi>default/key/ledger</bdi>",
		"<strong>Certified as</strong> <code><bdi>default/workload/web</bdi>", "<code>sha256:994fb7ce850d</code>")
	k.shows("/machine/00000000000000f1", "It attested at https://verifier.example, whose token counts here: this broker never saw its evidence.", "It was judged by https://verifier.example")
	k.shows("/machine/00000000000000d1", "Opened in the HSM with default/key/ledger.", "Certified as default/workload/web.")
	k.shows("/machine/00000000000000d2", "Beside it, each affirmed by the policy of its class: nvidia.")
}
