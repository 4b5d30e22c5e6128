package machine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/ignition/admit"
	"holdfast/internal/ignition/clevis"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/ignition/report/lastwords"
	"holdfast/internal/node"
	"holdfast/internal/wiring/provision"
)

// applyIgnition makes the machine what its measured configuration says.
func (d *identified) applyIgnition(ctx context.Context, p node.Provision) (string, error) {
	b := &provision.Boot{
		Ignition: p.Ignition, Digest: p.Digest, Stage: p.Stage,
		Exec: disks.Starter(p.Processes.Start).Run, Log: slog.New(&consoleLog{say: p.Log, name: "ignition"}),
	}
	if clevis.HasDevice() {
		b.TPM = clevis.Device()
		b.Memory = lastwords.Words{Open: clevis.Device().Chip}
	}
	if err := believe(b, p.Config.MachineConfig); err != nil {
		return "", err
	}
	text, err := b.Run(ctx)
	if err != nil {
		return "", err
	}
	return text, d.startUnits(ctx, p, b)
}

// believe takes whose signatures count, and who is told.
func believe(b *provision.Boot, m api.MachineConfig) (err error) {
	switch {
	case strings.HasPrefix(m.ConfigKey, "sha256:"):
		b.Key, err = admit.ParseKey(m.ConfigKey)
	case m.ConfigKey != "":
		b.Key, err = admit.ParseRoots([]byte(m.ConfigKey))
	}
	if err != nil {
		return fmt.Errorf("config_key: %w", err)
	}
	if m.Report == nil {
		return nil
	}
	if b.Post, err = poster(*m.Report); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// poster sends JSON to an endpoint for which its own CA vouches alone.
func poster(to api.Endpoint) (func(ctx context.Context, body []byte) error, error) {
	client, err := Pinned(to)
	if err != nil {
		return nil, err
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(ctx context.Context, body []byte) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode < 200 || answer.StatusCode > 299 {
			return fmt.Errorf("the answer is %s", answer.Status)
		}
		return nil
	}, nil
}

// startUnits starts the units of the root that the config has made. They end
// before the machine does.
func (d *identified) startUnits(ctx context.Context, p node.Provision, b *provision.Boot) error {
	ctx, cancel := context.WithCancel(ctx)
	u := Units{Processes: p.Processes, Log: b.Log, FirstBoot: b.First,
		Sink: func(service, line string) { p.Log(service + ": " + line) }}
	services, done, err := u.Start(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("units: %w", err)
	}
	d.serve(services)
	p.AtEnd(func() { cancel(); <-done })
	return nil
}
