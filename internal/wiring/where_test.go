package wiring

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/deb"
	"holdfast/internal/image/provenance"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/sbom"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

func TestWantedVersionsAreOrderedAsDebians(t *testing.T) {
	list := func(versions string) (all []api.Package) {
		for _, v := range strings.Fields(versions) {
			all = append(all, api.Package{Name: "a", Version: v}, api.Package{Name: "b", Version: v})
		}
		return all
	}
	all := list("1.0~rc1 1.0 1.0-1 1.0+deb12u1 1:0.5 1.10 1.9")
	for text, want := range map[string]string{
		"a":            "1.0~rc1 1.0 1.0-1 1.0+deb12u1 1:0.5 1.10 1.9",
		"a=1.0":        "1.0",
		"a<1.0":        "1.0~rc1",
		"a<=1.0":       "1.0~rc1 1.0",
		"a>1.9":        "1:0.5 1.10",
		"a>=1.9":       "1:0.5 1.10 1.9",
		"a<1:0":        "1.0~rc1 1.0 1.0-1 1.0+deb12u1 1.10 1.9",
		"a=1.0-1":      "1.0-1",
		"c":            "",
		"a=0:1.0":      "1.0",
		"a>=1.0+deb12": "1.0+deb12u1 1:0.5 1.10 1.9",
	} {
		w, err := ParseWanted(text)
		must(t, err)
		var got []string
		for _, p := range w.in(all) {
			got = append(got, p.Version)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"", "=1", "a=", "a==1", "a 1", "a=1=2", "a=x y", "a=:1"} {
		if w, err := ParseWanted(text); err == nil {
			t.Errorf("%q was read as %+v", text, w)
		}
	}
}

func TestVersionThatCannotBeComparedIsNotLeftOut(t *testing.T) {
	w, err := ParseWanted("golang.org/x/net<v0.30.0")
	must(t, err)
	for version, want := range map[string]int{"v0.29.0": 1, "v0.30.0": 0, "": 1, "(devel)": 1} {
		if got := w.in([]api.Package{{Name: "golang.org/x/net", Version: version}}); len(got) != want {
			t.Errorf("%q: got %v", version, got)
		}
	}
}

var when0 = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// attestedBy is what the audit log has of a machine that proved itself.
func attestedBy(session, machine, uki, pcr11 string, minute int) api.AuditEntry {
	return api.AuditEntry{Action: "attest", Decision: api.AuditAllow, Session: session, InitData: "sha256:c", Image: uki,
		Claims: &api.AuditClaims{EK: machine, PCRs: map[string]string{"11": pcr11}}, Time: when0.Add(time.Duration(minute) * time.Minute)}
}

func gave(session, resource string, minute int) api.AuditEntry {
	return api.AuditEntry{Action: "get-resource", Decision: api.AuditAllow, Session: session, InitData: "sha256:c", Resource: resource, Time: when0.Add(time.Duration(minute) * time.Minute)}
}

func TestWhereJoinsMachinesWithWhatTheyWereGiven(t *testing.T) {
	c := &census{
		wanted:   Wanted{"libssl3", "<", "3.0.15"},
		contents: map[string]api.ImageContents{"old": {Packages: []api.Package{{Name: "libssl3", Version: "3.0.14-1"}}}, "new": {Packages: []api.Package{{Name: "libssl3", Version: "3.0.15-1"}}}},
		shows:    map[string]string{"p-old": "old", "p-untold": "untold"}, names: map[string]string{"old": "guest"},
		sessions: map[string]*Holding{}, holdings: map[[3]string]*Holding{},
	}
	for _, e := range []api.AuditEntry{
		attestedBy("s1", "m1", "", "p-old", 0), // of a log that did not name images yet
		gave("s1", "a/b/c", 1), gave("s1", "a/b/d", 2),
		attestedBy("s2", "m1", "old", "p-old", 3), gave("s2", "a/b/c", 4),
		attestedBy("s3", "m2", "new", "p-new", 5), gave("s3", "a/b/c", 6),
		attestedBy("s4", "m3", "untold", "p-untold", 7),
		attestedBy("s5", "m4", "", "p-unheard", 8), gave("s5", "a/b/c", 9),
		gave("s6", "a/b/c", 10), // attested by another verifier
	} {
		c.take(e)
	}
	r := c.report()
	got, err := json.Marshal(r)
	must(t, err)
	if r.Asked != 5 || len(r.Machines) != 4 || r.Unknown() != 3 {
		t.Fatalf("got %s", got)
	}
	m1 := r.Machines[0]
	if m1.Machine != "m1" || m1.Image != "old" || m1.Name != "guest" || m1.Unknown || m1.Sessions != 2 || len(m1.Packages) != 1 ||
		len(m1.Secrets) != 2 || m1.Secrets[0] != (Given{"a/b/c", when0.Add(4 * time.Minute), "s2", ""}) {
		t.Errorf("got %s", got)
	}
	for _, h := range r.Machines[1:] {
		if !h.Unknown || h.Machine == "m2" {
			t.Errorf("got %+v, want it as unknown contents", h)
		}
	}
}

// billed is a machine image's bill of materials, and the provenance that names it.
func billed(t *testing.T, signers []sign.Signer, subject string) (statement, bill []byte) {
	t.Helper()
	pin := deb.Pin{Name: "libc6", Version: "2.36-9", Architecture: "amd64", Suite: "bookworm", SHA256: strings.Repeat("a", 64), Path: "pool/libc6.deb"}
	bill, err := sbom.Write(sbom.Contents{Name: "guest", Date: when0, Digest: oci.SHA256(nil), Purpose: "OPERATING_SYSTEM",
		Packages: []sbom.Package{{Pin: pin, Control: "Package: libc6\nVersion: 2.36-9\n"}}})
	must(t, err)
	envelope, err := provenance.New(provenance.Inputs{Format: "machine", Lock: &recipe.Lock{}, SBOM: bill, Signers: signers,
		Subjects: []sign.Subject{provenance.Subject(subject, oci.SHA256([]byte("uki")))}})
	must(t, err)
	statement, err = json.Marshal(envelope)
	must(t, err)
	return statement, bill
}

func TestContentsAreThoseThatTheBuildSigned(t *testing.T) {
	w := newWorkshop(t)
	ring, err := w.Installation.Ring(t.Context())
	must(t, err)
	b, err := w.Installation.Admin(ring)
	must(t, err)
	defer b.Close()
	statement, bill := billed(t, []sign.Signer{ring.Statements()}, "uki.efi")
	must(t, b.LoadContents(t.Context(), api.ContentsMessage{Provenance: statement, SBOM: bill}))
	list, err := b.Contents(t.Context())
	must(t, err)
	if len(list) != 1 || list[0].UKI != string(oci.SHA256([]byte("uki"))) || list[0].Name != "guest" ||
		len(list[0].Packages) != 1 || list[0].Packages[0].Name != "libc6" || list[0].Packages[0].Version != "2.36-9" {
		t.Errorf("got %+v", list)
	}

	unsigned, _ := billed(t, nil, "uki.efi")
	container, _ := billed(t, []sign.Signer{ring.Statements()}, "hello")
	for want, m := range map[string]api.ContentsMessage{
		"its bill of materials is not the one": {Provenance: statement, SBOM: append([]byte(" "), bill...)},
		"nobody signed it":                     {Provenance: unsigned, SBOM: bill},
		"of no machine image":                  {Provenance: container, SBOM: bill},
		"no DSSE envelope":                     {Provenance: []byte(`7`), SBOM: bill},
	} {
		if err := b.LoadContents(t.Context(), m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
