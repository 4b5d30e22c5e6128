package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"holdfast/internal/wiring"
)

//go:embed pages
var pages embed.FS

// A Site shows running services to people in a browser. It only reads, and it
// shows each reader what the registry would let that reader pull.
type Site struct {
	// Registry answers the distribution API. The site asks it as its reader,
	// with the reader's credentials.
	Registry http.Handler
	// Facts says how the services are, as far as that is for the reader.
	Facts func(q *http.Request) wiring.Facts
	// Version is of the program.
	Version string
}

// Handler is the site: pages at /, and what they need below /web/.
func (s *Site) Handler() http.Handler {
	mux := http.NewServeMux()
	assets, err := fs.Sub(pages, "pages")
	if err != nil {
		panic(err) // it is compiled in
	}
	mux.Handle("GET /web/style.css", http.StripPrefix("/web/", http.FileServerFS(assets)))
	mux.Handle("GET /{$}", s.page("overview", s.overview))
	mux.Handle("GET /repository/{name...}", s.page("repository", s.repository))
	mux.Handle("GET /image/{name...}", s.page("image", s.image))
	mux.HandleFunc("GET /login", s.login)
	mux.Handle("GET /", s.page("", func(*http.Request) (any, error) { return nil, errNotFound }))
	return guarded(mux)
}

// login has the browser ask for a name and a password, which it sends from
// then on.
func (s *Site) login(w http.ResponseWriter, q *http.Request) {
	if q.Header.Get("Authorization") == "" {
		s.fail(w, q, &registryError{http.StatusUnauthorized, "a name and a password are needed"})
		return
	}
	http.Redirect(w, q, "/", http.StatusSeeOther)
}

// guarded sets what keeps a page from doing or loading anything else.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, q)
	})
}

// A view is what the frame around each page shows, and the page's own part.
type view struct {
	Title   string
	Query   string // in the search field
	Version string
	Facts   wiring.Facts
	Page    any
}

// page answers with the template name, filled with what make makes.
func (s *Site) page(name string, make func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		ctx, cancel := context.WithTimeout(q.Context(), maxPage)
		defer cancel()
		data, err := make(q.WithContext(ctx))
		if err != nil {
			s.fail(w, q, err)
			return
		}
		s.write(w, http.StatusOK, name, view{Title: q.PathValue("name"), Query: q.URL.Query().Get("q"), Version: s.Version, Facts: s.Facts(q), Page: data})
	})
}

var templates = template.Must(template.New("site").Funcs(template.FuncMap{
	"bytes": humanBytes, "since": humanSince, "short": shortDigest, "path": escapePath, "below": below, "when": humanTime,
	"sections": sections, "outcome": outcomeClass, "mark": outcomeMark, "statemark": stateMark, "version": versionWords,
}).ParseFS(pages, "pages/*.html"))

// write renders before it answers, so that nobody sees half a page.
func (s *Site) write(w http.ResponseWriter, status int, name string, v view) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name+".html", v); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

var errNotFound = errors.New("there is nothing here, or nothing that you may see")

// fail shows an error as a page. Whoever could see more by a name is asked
// for one, as browsers ask.
func (s *Site) fail(w http.ResponseWriter, q *http.Request, err error) {
	status := http.StatusBadGateway
	var said *registryError
	switch {
	case errors.Is(err, errNotFound):
		status = http.StatusNotFound
	case errors.As(err, &said):
		status = said.Status
	}
	if status == http.StatusUnauthorized || status == http.StatusNotFound && q.Header.Get("Authorization") == "" && s.Facts(q).Rules {
		w.Header().Set("WWW-Authenticate", `Basic realm="Holdfast", charset="UTF-8"`)
		status = http.StatusUnauthorized
	}
	facts := wiring.Facts{}
	if status != http.StatusUnauthorized {
		facts = s.Facts(q)
	}
	s.write(w, status, "error", view{Title: http.StatusText(status), Facts: facts, Page: err.Error()})
}

// escapePath keeps the slashes of a repository's name.
func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}
