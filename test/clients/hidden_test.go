package clients

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"holdfast/internal/wiring"
)

// everywhere are the requests of the distribution API about a repository.
func everywhere(repository, digest string) []string {
	v2 := "/v2/" + repository
	return []string{
		"GET " + v2 + "/manifests/v1", "HEAD " + v2 + "/manifests/v1", "GET " + v2 + "/manifests/" + digest,
		"GET " + v2 + "/blobs/" + digest, "HEAD " + v2 + "/blobs/" + digest, "GET " + v2 + "/tags/list", "GET " + v2 + "/referrers/" + digest,
		"POST " + v2 + "/blobs/uploads/", "POST " + v2 + "/blobs/uploads/?digest=" + digest, "PUT " + v2 + "/manifests/v1",
		"DELETE " + v2 + "/manifests/v1", "DELETE " + v2 + "/blobs/" + digest, "GET " + v2 + "/blobs/uploads/x", "PATCH " + v2 + "/blobs/uploads/x",
	}
}

// told is all that an answer says, but its time and the repository's name.
func told(t *testing.T, h host, who person, what, repository string) string {
	t.Helper()
	method, path, _ := strings.Cut(what, " ")
	answer := h.ask(t, who, method, path)
	body, _ := io.ReadAll(answer.Body)
	answer.Header.Del("Date")
	return strings.ReplaceAll(fmt.Sprint(answer.Status, answer.Header, string(body)), repository, "REPOSITORY")
}

func TestWhoMayNotSeeARepositoryCannotTellWhetherItIsThere(t *testing.T) {
	h := guarded(t, false)
	dir, digest := layout(t, t.Name())
	if err := (craneClient{t}).push(h, alice, dir, h.address+"/secret/real:v1"); err != nil {
		t.Fatal(err)
	}
	if got := told(t, h, alice, everywhere("secret/real", digest)[0], "secret/real"); !strings.HasPrefix(got, "200") {
		t.Errorf("alice gets %s", got)
	}
	for _, who := range []person{nobody, bob, impostor} {
		real, fake := everywhere("secret/real", digest), everywhere("secret/fake", digest)
		for i := range real {
			there, absent := told(t, h, who, real[i], "secret/real"), told(t, h, who, fake[i], "secret/fake")
			if there != absent || strings.HasPrefix(there, "2") {
				t.Errorf("%q, %s\nthere:  %s\nabsent: %s", who.name, real[i], there, absent)
			}
		}
	}
}

func TestABlobIsNotMountedFromWhereOneMayNotPull(t *testing.T) {
	h := guarded(t, false)
	dir, digest := layout(t, t.Name())
	if err := (craneClient{t}).push(h, alice, dir, h.address+"/secret/real:v1"); err != nil {
		t.Fatal(err)
	}
	begin := func(who person, from string) string {
		answer := h.ask(t, who, http.MethodPost, "/v2/public/app/blobs/uploads/?"+url.Values{"mount": {digest}, "from": {from}}.Encode())
		return answer.Status
	}
	if there, absent := begin(bob, "secret/real"), begin(bob, "secret/fake"); there != absent || there != "202 Accepted" {
		t.Errorf("bob gets %s for what is there, %s for what is not", there, absent)
	}
	answer := h.ask(t, bob, http.MethodPost, "/v2/public/app/blobs/uploads/?mount="+digest)
	if answer.StatusCode != http.StatusAccepted {
		t.Errorf("from anywhere: bob gets %s", answer.Status)
	}
	if got := h.ask(t, bob, http.MethodHead, "/v2/public/app/blobs/"+digest); got.StatusCode != http.StatusNotFound {
		t.Errorf("bob has the blob: %s", got.Status)
	}
	if got := begin(alice, "secret/real"); got != "201 Created" {
		t.Errorf("alice gets %s", got)
	}
}

func TestTheCatalogueNamesWhatOneMayPull(t *testing.T) {
	h := guarded(t, false)
	dir, _ := layout(t, t.Name())
	for _, name := range []string{"secret/real", "public/app"} {
		if err := (craneClient{t}).push(h, alice, dir, h.address+"/"+name+":v1"); err != nil {
			t.Fatal(err)
		}
	}
	for who, want := range map[person]string{alice: "[public/app secret/real]", bob: "[public/app]"} {
		got, err := (craneClient{t}).catalog(h, who)
		if err != nil || got != want {
			t.Errorf("%s sees %s, %v; want %s", who.name, got, err, want)
		}
	}
	if got, err := (craneClient{t}).catalog(h, nobody); err != nil || got != "[public/app]" {
		t.Errorf("nobody sees %s, %v", got, err)
	}
}

// A blob that one may push is no way to one that is there already: what the
// client does not send, it does not get.
func TestADigestAloneOpensNothing(t *testing.T) {
	h := serve(t, func(c *wiring.ServeConfig) { c.Access.Rules = rulesFile(t) })
	dir, digest := layout(t, t.Name())
	if err := (craneClient{t}).push(h, alice, dir, h.address+"/secret/real:v1"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v2/public/app/blobs/" + digest, "/v2/public/app/manifests/" + digest} {
		if got := h.ask(t, bob, http.MethodGet, path); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: bob gets %s", path, got.Status)
		}
	}
}
