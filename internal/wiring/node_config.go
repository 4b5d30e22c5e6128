package wiring

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/api"
	"holdfast/internal/ignition"
	"holdfast/internal/ignition/admit"
	"holdfast/internal/ignition/butane"
	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/volume"
)

// A NodeConfig says how configs of machines are read on the host.
type NodeConfig struct {
	Files   string        // folder of the files that Butane names; "": it may name none
	Root    string        // folder that file URLs of the config lead into; "": it may have none
	Image   string        // a machine image's folder, or its recipe's; "": one like images/machine
	Key     admit.Key     // that must have signed the config; the zero value: nobody
	Timeout time.Duration // for each thing that is fetched, where the config says nothing
	Log     *slog.Logger
}

func (n NodeConfig) loader() spec.Loader {
	return spec.Loader{Butane: butane.Config{Files: n.Files}.Translate, Files: n.Root != ""}
}

// Read reads an Ignition or Butane config.
func (n NodeConfig) Read(name string, raw []byte) (*spec.Document, error) {
	raw, err := admit.Gate{Key: n.Key}.Admit(context.Background(), name, raw, false)
	if err != nil {
		return nil, err
	}
	return n.loader().Load(name, raw)
}

// ForMachine reads a config that a machine image is to apply, and gives it as
// Ignition, with what it says of the machine beside that.
func (n NodeConfig) ForMachine(name string, raw []byte) (ignition []byte, m api.MachineConfig, err error) {
	d, err := n.Read(name, raw)
	if err != nil {
		return nil, m, err
	}
	g, err := n.guest(name, raw)
	if err != nil {
		return nil, m, err
	}
	if g.Image != "" {
		f, _ := butane.Place(name, raw, []any{"workload"}, 0)
		f.Problem, f.Want = "what runs is said in another place here", "no attestation, registry or workload"
		return nil, m, &spec.InvalidError{Findings: []spec.Finding{f}}
	}
	return d.JSON, g.MachineConfig, n.possible(name, raw, d)
}

// Beside is what a config of our variant says beside Ignition: an object with
// the names of the guest configuration, nil where it says nothing.
func (n NodeConfig) Beside(name string, raw []byte) (map[string]any, error) {
	g, err := n.guest(name, raw)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(g)
	if err != nil {
		return nil, err
	}
	said := map[string]any{}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, err
	}
	if g.Image == "" { // such a config says of the machine alone
		for _, member := range []string{"registry", "broker", "process"} {
			delete(said, member)
		}
	}
	if len(said) == 0 {
		return nil, nil
	}
	return said, nil
}

// fetcher takes files of the folder that the config came from.
func (n NodeConfig) fetcher(limit int64) *fetch.Fetcher {
	f := fetch.New(fetch.Config{Limit: limit, Total: n.Timeout, Log: n.Log})
	if n.Root != "" {
		f.Files = volume.Opener(ignition.Origin{Folder: n.Root})
	}
	return f
}

// Render fetches all that a config merges or is replaced by. A machine reads
// Ignition only, so what is fetched must be that.
func (n NodeConfig) Render(ctx context.Context, name string, d *spec.Document) (*spec.Rendered, error) {
	f := n.fetcher(spec.MaxSize)
	get := func(ctx context.Context, settings types.Ignition, r types.Resource) ([]byte, error) {
		var b bytes.Buffer
		err := f.Fetch(ctx, settings, r, &b)
		return b.Bytes(), err
	}
	return spec.Renderer{Loader: spec.Loader{Files: n.Root != ""}, Fetch: get, Admit: admit.Gate{Key: n.Key}.Admit}.Render(ctx, name, d.Config)
}
