package robust

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/internal/deb/debtest"
)

// An answer takes the place of a good one.
type answer struct {
	name string
	give func(w http.ResponseWriter)
}

var answers = []answer{
	{"empty", func(http.ResponseWriter) {}},
	{"garbage", func(w http.ResponseWriter) { _, _ = io.WriteString(w, debtest.Noise(3, 5000)) }},
	{"a web page", func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n")
	}},
	{"wrong type", func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"schemaVersion": "x", "manifests": 7}`) }},
	{"cut off", func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}},
	{"hung up", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
	{"endless", func(w http.ResponseWriter) {
		for chunk := []byte(debtest.Noise(4, 1<<16)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}},
	{"not found", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }},
	{"forbidden", func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }},
	{"broken", func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }},
}

// A spoiler gives a bad answer to requests whose path has a certain part.
type spoiler struct {
	part   string
	answer atomic.Pointer[answer]
}

func (s *spoiler) spoil(w http.ResponseWriter, r *http.Request) bool {
	a := s.answer.Load()
	if a == nil || !strings.Contains(r.URL.Path, s.part) {
		return false
	}
	a.give(w)
	return true
}

func TestEveryBadAnswerIsRefusedInOneClearLine(t *testing.T) {
	random := seed(t)
	for name, part := range map[string]string{"release": "InRelease", "index": "binary-amd64", "package": "pool/"} {
		tried := someAnswers(random)
		t.Run("archive's "+name, func(t *testing.T) {
			t.Parallel()
			p, a, s := newPlace(t), debtest.New(t), &spoiler{part: part}
			a.Intercept = s.spoil
			p.recipe("small", a.AddBulk("bookworm", 1<<18, 50))
			source := []string{"--mirror", a.URL, "--keyring", a.Keyring}
			r := reader{words: append([]string{"image", "lock", "small"}, source...), makes: "small/recipe.lock", says: part}
			if name == "release" {
				r.says = "bookworm"
			}
			if name == "package" {
				p.run(r.words...)
				r = reader{words: append([]string{"image", "build", "small", "-o", "made"}, source...), makes: "made", says: "bulk0"}
			}
			p.spoilt(s, r, tried, "state/cache")
		})
	}
	for _, part := range []string{"manifest", "config", "layer"} {
		tried := someAnswers(random)
		t.Run("registry's "+part, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s, registry := p.spoiltRegistry(part)
			r := reader{words: []string{"image", "pull", registry + "/small:1", "oci:made"}, makes: "made/index.json", says: registry}
			p.spoilt(s, r, tried, "made")
		})
	}
}

func someAnswers(r *rand.Rand) []answer {
	if soak() {
		return answers
	}
	var some []answer
	for _, i := range r.Perm(len(answers))[:4] {
		some = append(some, answers[i])
	}
	return some
}

// spoilt gives every answer in turn; between them fresh is removed.
func (p *place) spoilt(s *spoiler, r reader, answers []answer, fresh string) {
	p.t.Helper()
	for _, a := range answers {
		p.remove(fresh)
		s.answer.Store(&a)
		if err := r.check(p); err != nil {
			p.t.Errorf("%s: %v", a.name, err)
		}
	}
	s.answer.Store(nil)
	p.remove(fresh)
	p.run(r.words...) // and with good answers it works
}

// spoiltRegistry has an image at /small:1, of which it spoils one part.
func (p *place) spoiltRegistry(part string) (*spoiler, string) {
	a := debtest.New(p.t)
	p.recipe("small", a.AddBulk("bookworm", 1<<18, 50))
	source := []string{"--mirror", a.URL, "--keyring", a.Keyring}
	p.run(append([]string{"image", "lock", "small"}, source...)...)
	p.run(append([]string{"image", "build", "small", "-o", "image"}, source...)...)
	_, registry := p.serve()
	p.run("image", "push", "oci:image", registry+"/small:1")
	_, config, layer := p.blobs("image")
	s := &spoiler{part: map[string]string{"manifest": "/manifests/", "config": base(config), "layer": base(layer)}[part]}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.spoil(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	p.t.Cleanup(server.Close)
	return s, strings.TrimPrefix(server.URL, "http://")
}

func base(path string) string { return path[strings.LastIndex(path, "/")+1:] }
