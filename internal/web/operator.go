package web

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"

	"holdfast/internal/api"
	"holdfast/internal/broker/audit"
	"holdfast/internal/wiring"
)

// A Watch is what there is to see of a broker. All of it is reading, and none
// of it a secret.
type Watch interface {
	// Log reads the audit log as audit.Back does.
	Log(ctx context.Context, from audit.Mark, read func(line []byte, at audit.Mark) (more bool)) error
	Verify(ctx context.Context) (audit.Report, error)
	// Decisions tells of those about sessions, the oldest first.
	Decisions(ctx context.Context, sessions []string, tell func(api.RecordedDecision)) error

	Images(ctx context.Context) ([]api.TrustedImage, error)
	Configurations(ctx context.Context) ([]api.Configuration, error)
	Policy(ctx context.Context, kind string) (api.PolicyInForce, error)
	PolicyVersion(ctx context.Context, kind string, number int64) (api.PolicyInForce, error)
	PolicyHistory(ctx context.Context, kind string) ([]api.Version, error) // the latest first
	Keys(ctx context.Context) ([]wiring.KeyFacts, error)
	Health(ctx context.Context) (wiring.BrokerHealth, error)
}

// An Operator shows a broker to the people who run it: who asked, what was
// proved, what was decided and why. It only reads.
type Operator struct {
	Watch   Watch
	Door    *Door
	Version string
	Log     *slog.Logger // of what could not be shown; discards when nil
}

// Handler is the pages. Without a session of Door's there is only the way in.
func (o *Operator) Handler() http.Handler {
	mux := http.NewServeMux()
	assets, err := fs.Sub(pages, "pages")
	if err != nil {
		panic(err) // it is compiled in
	}
	mux.Handle("GET /web/style.css", http.StripPrefix("/web/", http.FileServerFS(assets)))
	mux.HandleFunc("GET "+enterPath+"{ticket}", o.enter)
	for pattern, p := range map[string]struct {
		name, title string
		make        func(*http.Request) (any, error)
	}{
		"/{$}":                      {"broker_asked", "Machines", o.asked},
		"/machine/{id}":             {"broker_machine", "Machines", o.machine},
		"/log":                      {"broker_log", "Audit log", o.log},
		"/images":                   {"broker_images", "Trusted images", o.images},
		"/configurations":           {"broker_configurations", "Configurations", o.configurations},
		"/policies":                 {"broker_policies", "Policies", o.policies},
		"/policies/{kind}/{number}": {"broker_policy", "Policies", o.policy},
		"/keys":                     {"broker_keys", "Keys", o.keys},
		"/health":                   {"broker_health", "Health", o.health},
		"/":                         {"", "", func(*http.Request) (any, error) { return nil, errNotFound }},
	} {
		mux.Handle("GET "+pattern, o.page(p.name, p.title, p.make))
	}
	return guarded(mux)
}

// A section is a page that each other leads to.
type section struct{ Name, Path string }

func sections() []section {
	return []section{{"Machines", "/"}, {"Audit log", "/log"}, {"Trusted images", "/images"}, {"Configurations", "/configurations"},
		{"Policies", "/policies"}, {"Keys", "/keys"}, {"Health", "/health"}}
}

func outcomeClass(outcome string) string {
	if outcome == "in part" {
		return "refused"
	}
	return outcome
}

// outcomeMark tells outcomes apart without colours.
func outcomeMark(outcome string) string {
	switch outcome {
	case "released":
		return "✓"
	case "attested":
		return "·"
	}
	return "✗"
}

func stateMark(state string) string { return marks[state] }

// enter lets a browser in. The page that it answers goes on by itself: on a
// redirect from another site's page, as a mail's, the cookie would not be sent.
func (o *Operator) enter(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if q.Method != http.MethodGet || !o.Door.enter(w, q) {
		o.shut(w, "This link was used before, is too old, or was never made.")
		return
	}
	o.write(w, http.StatusOK, "broker_enter", operatorView{Title: "Welcome"})
}

func (o *Operator) shut(w http.ResponseWriter, why string) {
	o.write(w, http.StatusForbidden, "broker_shut", operatorView{Title: "Not open", Page: why})
}

// An operatorView is what the frame around each page shows, and the page.
type operatorView struct {
	Title, Section, Version string
	Page                    any
}

func (o *Operator) page(name, section string, make func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if !o.Door.open(q) {
			o.shut(w, "These pages are for who runs this broker, and a session here ends after half an hour.")
			return
		}
		ctx, cancel := context.WithTimeout(q.Context(), maxPage)
		defer cancel()
		data, err := make(q.WithContext(ctx))
		if err != nil {
			o.fail(w, q, err)
			return
		}
		o.write(w, http.StatusOK, name, operatorView{Title: section, Section: section, Version: o.Version, Page: data})
	})
}

func (o *Operator) fail(w http.ResponseWriter, q *http.Request, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, errNotFound) || errors.Is(err, fs.ErrNotExist) {
		status, err = http.StatusNotFound, errNotFound
	} else if o.Log != nil {
		o.Log.Error("operator's page", "path", q.URL.Path, "error", err)
	}
	o.write(w, status, "broker_error", operatorView{Title: http.StatusText(status), Version: o.Version, Page: plain(err.Error(), maxReason)})
}

func (o *Operator) write(w http.ResponseWriter, status int, name string, v operatorView) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name+".html", v); err != nil {
		if o.Log != nil {
			o.Log.Error("operator's page", "template", name, "error", err)
		}
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}
