package service

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"

	"holdfast/internal/api"
)

// The annotations that the CRI plugin writes into a container's specification
// (containerd, internal/cri/annotations).
const (
	nameAnnotation  = "io.kubernetes.cri.container-name"
	imageAnnotation = "io.kubernetes.cri.image-name"
)

// believed reads what this node believes the container to be, and where it has what it
// would mount, by places in the container.
func believed(r *taskapi.CreateTaskRequest) (p api.CreateParams, sources map[string]string, err error) {
	raw, err := os.ReadFile(filepath.Join(r.Bundle, "config.json"))
	if err != nil {
		return p, nil, err
	}
	var s specs.Spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return p, nil, fmt.Errorf("the container's specification: %w", err)
	}
	sources = map[string]string{}
	for _, m := range s.Mounts {
		sources[m.Destination] = m.Source
	}
	return params(s, r.Terminal), sources, nil
}

func params(s specs.Spec, terminal bool) api.CreateParams {
	p := api.CreateParams{Container: s.Annotations[nameAnnotation], Terminal: terminal}
	if _, digest, ok := strings.Cut(s.Annotations[imageAnnotation], "@"); ok {
		p.Image = digest
	}
	if s.Process != nil {
		p.Args, p.Env, p.Workdir = s.Process.Args, s.Process.Env, s.Process.Cwd
	}
	for _, m := range s.Mounts {
		p.Mounts = append(p.Mounts, m.Destination)
	}
	return p
}
