package confidential

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"holdfast/internal/api"
)

// commands are all that a node may start in a container: what a person allowed, and what
// its manifest has a kubelet start.
func (r reader) commands(c container) (all []api.Command, err error) {
	all = append(all, r.Commands[c.Name]...)
	var outputs []string
	if !r.keepsLogs(c.Name) {
		outputs = []string{api.StreamLogs} // a failed probe's are in the pod's events
	}
	for _, part := range []struct {
		name string
		exec *execution
	}{
		{"startupProbe", c.Startup.command()}, {"readinessProbe", c.Readiness.command()}, {"livenessProbe", c.Liveness.command()},
		{"lifecycle.postStart", c.Lifecycle.PostStart.command()}, {"lifecycle.preStop", c.Lifecycle.PreStop.command()},
	} {
		if part.exec == nil {
			continue
		}
		if err := plain(part.exec.Command); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		all = append(all, api.Command{Args: part.exec.Command, Streams: outputs})
	}
	return all, nil
}

func (p *probe) command() *execution {
	if p == nil {
		return nil
	}
	return p.Exec
}

func (h *handler) command() *execution {
	if h == nil {
		return nil
	}
	return h.Exec
}

// plain refuses what a node would expand, and is not believed in.
func plain(words []string) error {
	for _, word := range words {
		if strings.Contains(word, "$(") {
			return errors.New("refers to a variable with $(…): write its value")
		}
	}
	return nil
}

// usualMessage is where Kubernetes has a container write its last words.
const usualMessage = "/dev/termination-log"

// message is the file of a container's last words, which its output is kept with.
func (r reader) message(c container) string {
	switch {
	case r.keepsLogs(c.Name):
		return ""
	case c.TerminationPath != "":
		return c.TerminationPath
	}
	return usualMessage
}

// checkMessage refuses a file of last words that no container could begin with: a kubelet
// mounts what its manifest names, and a machine what it has the output of.
func (r reader) checkMessage(c container, mounts []api.VolumeMount) error {
	at := c.TerminationPath
	if r.keepsLogs(c.Name) && at != "" && at != usualMessage {
		return fmt.Errorf("terminationMessagePath %s: the container's output is kept, and so are its last words: leave it out", at)
	}
	for _, m := range mounts {
		if m.ReadOnly && strings.HasPrefix(path.Clean(r.message(c))+"/", path.Clean(m.Path)+"/") {
			return fmt.Errorf("terminationMessagePath %s: volume %s is read-only there", at, m.Name)
		}
	}
	return nil
}
