package main

import (
	_ "github.com/containerd/containerd/v2/contrib/snapshotservice"
	_ "github.com/containerd/containerd/v2/core/snapshots/storage"
	_ "github.com/containerd/containerd/v2/pkg/shim"
	_ "k8s.io/cri-api/pkg/apis/runtime/v1"

	_ "holdfast/internal/machine/qemu"
	_ "holdfast/internal/swtpm"
)

func main() {}
