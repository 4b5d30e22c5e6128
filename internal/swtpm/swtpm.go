// Package swtpm makes and runs software TPMs, with the programs of Debian's
// packages swtpm and swtpm-tools.
//
// Each TPM is one folder. Manufacture gives it an RSA-2048 endorsement key and
// a certificate for that key, issued by a certificate authority that lives in a
// folder of the caller's and nowhere else; CA returns what a verifier needs to
// trust it. Start serves the TPM to QEMU, Open lets this process talk to it. No
// TPM process outlives the process that started it.
//
// A software TPM is run by its host and keeps its keys in files: it shows that
// the mechanism works, and protects nothing from the host.
package swtpm

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// A MissingError says that a program of swtpm is not installed.
type MissingError struct {
	Tool string // swtpm, swtpm_setup or swtpm_localca
}

func (e *MissingError) Error() string {
	return e.Tool + " is not installed: it is in the Debian packages swtpm and swtpm-tools"
}

// Packages are the Debian packages that have the program.
func (e *MissingError) Packages() []string { return []string{"swtpm", "swtpm-tools"} }

// Installed returns a *MissingError when a program that this package runs
// cannot be found.
func Installed() error {
	for _, tool := range []string{"swtpm", "swtpm_setup", "swtpm_localca"} {
		if _, err := look(tool); err != nil {
			return err
		}
	}
	return nil
}

func look(tool string) (string, error) {
	path, err := exec.LookPath(tool)
	if err != nil {
		return "", &MissingError{Tool: tool}
	}
	return filepath.Abs(path)
}

// folder makes dir absolute, as swtpm demands, and refuses names that swtpm's
// option and configuration syntax cannot carry.
func folder(dir string) (string, error) {
	if dir == "" {
		return "", fmt.Errorf("software TPM: no folder given")
	}
	if strings.ContainsAny(dir, ",$\n") {
		return "", fmt.Errorf("software TPM folder %q: swtpm takes no comma, dollar sign or line break in a name", dir)
	}
	return filepath.Abs(dir)
}

// tail is what a program said last, on one line, as the reason of its failure.
func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
