package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"holdfast/internal/api"
)

// A Plugin answers what is asked below /kbs/v0/NAME/, as Trustee's plugins do
// (kbs/src/plugins/plugin_manager.rs). Whoever asks was judged before: a
// machine by its token and the resource policy, an administrator by his.
type Plugin interface {
	Name() string
	// Access says who may ask for path, whose parts are never empty.
	Access(method string, path []string) Access
	// Serve answers. What it tells a machine is wrapped to the machine's key.
	Serve(ctx context.Context, c Call) (Answer, error)
}

// A Keeper is a Plugin that holds keys which never leave it. Get of such a
// resource says how to use it instead.
type Keeper interface {
	Keeps(ctx context.Context, r Resource) (bool, error)
}

// Access is who may ask a Plugin.
type Access int

// Who may ask. The zero value is nobody: the path does not exist.
const (
	Nobody Access = iota
	Machines
	Administrators
	Anybody
)

// A Call is what a Plugin is asked.
type Call struct {
	Method string
	Path   []string // behind the plugin's name
	Body   []byte
	Key    any // of a machine: its ephemeral public key, *ecdsa.PublicKey or *rsa.PublicKey
}

// An Answer is what a Plugin says.
type Answer struct {
	Body []byte
	Type string // of an answer in the clear; application/octet-stream when empty
}

// PluginError is an error that its reader is told, with the HTTP status.
func PluginError(status int, err error) error { return refuse(status, kindInternal, "%w", err) }

// maxCall bounds the body of a machine's call.
const maxCall = 32 << 10

// routePlugin serves a plugin. What it does not know is answered as a plugin
// that is not there.
func (b *Broker) routePlugin(p Plugin) {
	b.handle(api.KBSPrefix+"/"+p.Name()+"/{path...}", func(w http.ResponseWriter, r *http.Request) error {
		path := strings.Split(r.PathValue("path"), "/")
		access := p.Access(r.Method, path)
		if slices.ContainsFunc(path, func(part string) bool { return !validPart(part) }) {
			access = Nobody
		}
		switch access {
		case Machines:
			return b.callByMachine(w, r, p, path)
		case Administrators:
			return b.asAdministrator(w, r, func(actor string) error { return b.callByAdministrator(w, r, p, path, actor) })
		case Anybody:
			answer, err := p.Serve(r.Context(), Call{Method: r.Method, Path: path})
			if err == nil {
				writeAnswer(w, answer)
			}
			return err
		}
		return refuse(http.StatusNotFound, kindNotFound, "%s %s is not served here", r.Method, r.URL.Path)
	})
}

func (b *Broker) callByMachine(w http.ResponseWriter, r *http.Request, p Plugin, path []string) error {
	body, err := readBody(w, r, maxCall)
	if err != nil {
		return err
	}
	v, err := b.attestedToken(r)
	if err != nil {
		return err
	}
	key, err := v.key.public()
	if err != nil {
		return refuse(http.StatusUnauthorized, kindToken, "Token Verifier error: %w", err)
	}
	want := wanted{plugin: p.Name(), path: strings.Join(path, "/")}
	entry := api.AuditEntry{Action: "call-plugin", Session: v.session, Peer: r.RemoteAddr, InitData: v.initData(), Warning: v.warning(), Resource: want.String()}
	answer, err := b.give(r.Context(), v, want, r.URL.Query(), &entry, func(ctx context.Context) ([]byte, error) {
		answer, err := p.Serve(ctx, Call{Method: r.Method, Path: path, Body: body, Key: key})
		return answer.Body, err
	})
	if err := b.conclude(r.Context(), entry, err); err != nil {
		b.dropProof(r.Context(), entry.Proof)
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (b *Broker) callByAdministrator(w http.ResponseWriter, r *http.Request, p Plugin, path []string, actor string) error {
	body, err := readBody(w, r, maxAdmin)
	if err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "call-plugin", Actor: actor, Peer: r.RemoteAddr,
		Resource: wanted{plugin: p.Name(), path: strings.Join(path, "/")}.String()}
	entry.Decision = api.AuditAllow
	if err := b.record(r.Context(), entry); err != nil {
		return err
	}
	answer, err := p.Serve(r.Context(), Call{Method: r.Method, Path: path, Body: body})
	if err != nil {
		return b.conclude(r.Context(), entry, err)
	}
	writeAnswer(w, answer)
	return nil
}

func writeAnswer(w http.ResponseWriter, a Answer) {
	if a.Type == "" {
		a.Type = "application/octet-stream"
	}
	w.Header().Set("Content-Type", a.Type)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(a.Body) // the other side may stop reading
}

// wanted is what a machine asks for: a resource's path, or a plugin's.
type wanted struct{ plugin, path string }

// resourcePlugin is the name of what the broker itself serves.
const resourcePlugin = "resource"

func (t wanted) String() string {
	if t.plugin == resourcePlugin {
		return t.path
	}
	return t.plugin + "/" + t.path
}

// named is the plugin as proofs have it: the broker's own resources need none.
func (t wanted) named() string {
	if t.plugin == resourcePlugin {
		return ""
	}
	return t.plugin
}

// resource is what an administrator would allow: for a plugin, what its path
// ends in.
func (t wanted) resource() string {
	parts := strings.Split(t.path, "/")
	return strings.Join(parts[max(0, len(parts)-3):], "/")
}

// give wraps what policy grants, noting in entry what it was. Its proof is on
// disk when it returns: what cannot be proved is not released.
func (b *Broker) give(ctx context.Context, v *verified, want wanted, query url.Values, entry *api.AuditEntry,
	value func(context.Context) ([]byte, error)) (*sealed, error) {
	if v.issuer != "" {
		entry.Subject = "token of " + v.issuer
	}
	granted, err := b.permit(ctx, v, want, query)
	if err != nil {
		return nil, err
	}
	plain, err := value(ctx)
	if err != nil {
		return nil, err
	}
	entry.Value = b.audit.digest(Resource(want.String()), plain)
	answer, err := v.key.seal(plain)
	if err != nil {
		return nil, err
	}
	entry.Proof, err = b.prove(ctx, v, granted, want, entry.Value)
	return answer, err
}

// unkept refuses a path that is a key which a plugin keeps: it may be used, and
// is neither to be had nor to be set.
func (b *Broker) unkept(ctx context.Context, path Resource) error {
	for _, p := range b.cfg.Plugins {
		keeper, ok := p.(Keeper)
		if !ok {
			continue
		}
		if kept, err := keeper.Keeps(ctx, path); err != nil {
			return err
		} else if kept {
			return refuse(http.StatusConflict, api.KindKept, "the key %s never leaves %s: it opens packets there", path, p.Name())
		}
	}
	return nil
}

func (b *Broker) resource(ctx context.Context, path Resource) ([]byte, error) {
	value, err := b.state.Resource(ctx, string(path))
	if errors.Is(err, fs.ErrNotExist) {
		if err := b.unkept(ctx, path); err != nil {
			return nil, err
		}
		return nil, refuse(http.StatusNotFound, kindInternal, "resource not found: %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("resource %s: %w", path, err)
	}
	return value, nil
}
