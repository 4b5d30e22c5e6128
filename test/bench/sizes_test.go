package main

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/image"
)

// BenchmarkSizes weighs what firmware reads at each boot.
func BenchmarkSizes(b *testing.B) {
	built := filepath.Join(b.TempDir(), "guest")
	holdfast(b, "image", "build", filepath.Join(root, "images/guest"), "--format", "machine", "-o", built)
	m, err := image.ReadMachine(built)
	check(b, err)
	node, err := os.Stat(filepath.Join(root, "bin", "holdfast-node"))
	check(b, err)
	for b.Loop() {
	}
	b.ReportMetric(float64(m.UKI.Size)/1e6, "uki-MB")
	b.ReportMetric(float64(node.Size())/1e6, "node-MB")
}
