package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKernelIsSealedOrTheMachineEnds(t *testing.T) {
	dir := t.TempDir()
	if err := sealKernel(dir); err != nil {
		t.Fatalf("a kernel without any of it: %v", err)
	}
	for _, s := range seals {
		path := filepath.Join(dir, s.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("?"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := sealKernel(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kernel/modules_disabled": "1", "kernel/kexec_load_disabled": "1", "kernel/sysrq": "0", "user/max_user_namespaces": "0",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	broken := filepath.Join(dir, "kernel/modules_disabled")
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(broken, 0o755); err != nil { // there, and cannot be set
		t.Fatal(err)
	}
	if err := sealKernel(dir); err == nil {
		t.Error("a seal that does not take was let pass")
	}
}
