package image

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/deb"
	"holdfast/internal/image/provenance"
	"holdfast/internal/image/sbom"
	"holdfast/internal/keys"
	"holdfast/internal/sign"
)

// attached reads the layer of what is attached to the one image in a layout.
func attached(t *testing.T, dir, artifactType string) []byte {
	t.Helper()
	var index v1.Index
	readJSON(t, &index, dir, "index.json")
	for _, d := range index.Manifests[1:] {
		var m v1.Manifest
		readJSON(t, &m, dir, "blobs", "sha256", d.Digest.Encoded())
		if m.Subject == nil || m.Subject.Digest != index.Manifests[0].Digest {
			t.Fatalf("%s: got subject %+v, want the image", d.Digest, m.Subject)
		}
		if m.ArtifactType == artifactType && d.ArtifactType == artifactType {
			raw, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", m.Layers[0].Digest.Encoded()))
			check(t, err)
			return raw
		}
	}
	t.Fatalf("nothing of type %s refers to the image", artifactType)
	return nil
}

func readJSON(t *testing.T, to any, elem ...string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(elem...))
	check(t, err)
	check(t, json.Unmarshal(raw, to))
}

// A bill is what a reader of SPDX looks at.
type bill struct {
	Packages []struct {
		SPDXID, Name, VersionInfo, Supplier string
		Checksums                           []struct{ Algorithm, ChecksumValue string }
		ExternalRefs                        []struct{ ReferenceLocator string }
	}
	Files []struct{ FileName string }
}

func (b bill) packages(prefix string) map[string]string {
	found := map[string]string{}
	for _, p := range b.Packages {
		if strings.HasPrefix(p.SPDXID, prefix) {
			sum := ""
			if len(p.Checksums) > 0 {
				sum = p.Checksums[0].ChecksumValue
			}
			found[p.Name] = p.VersionInfo + " " + sum
		}
	}
	return found
}

// validate lets python3-jsonschema judge a document by SPDX's own schema.
func validate(t *testing.T, document []byte) {
	t.Helper()
	const program = `
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
validator = jsonschema.validators.validator_for(schema)
validator.check_schema(schema)
errors = [e.message + " at " + "/".join(map(str, e.path)) for e in validator(schema).iter_errors(json.load(sys.stdin))]
print("\n".join(errors) or "valid")
`
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import jsonschema").Run() != nil {
			continue
		}
		cmd := exec.Command(python, "-W", "ignore", "-c", program, filepath.Join("sbom", "testdata", "spdx-schema-2.3.json"))
		cmd.Stdin = bytes.NewReader(document)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "valid\n" {
			t.Errorf("SPDX's schema says: %v: %s", err, out)
		}
		return
	}
	t.Skip("needs python3-jsonschema: apt-get install python3-jsonschema (make test installs it)")
}

// The independent source is each package's own control file, as dpkg-deb reads
// it from the .deb, and sha256sum of the .deb.
func TestBillOfMaterialsIsTheLock(t *testing.T) {
	needs(t, "dpkg-deb", "dpkg")
	archive, store := todaysArchive(t)
	o := locked(t, archive, store, filepath.Join("..", "..", "images", "redis"))
	made, err := BuildOCI(t.Context(), OCIOptions{Options: o})
	check(t, err)
	raw := attached(t, made.Dir, sbom.MediaType)
	var b bill
	check(t, json.Unmarshal(raw, &b))
	want := map[string]string{}
	for _, p := range o.Lock.Packages {
		file := debFile(t, o, p)
		sum := strings.Fields(string(run(t, "sha256sum", file)))[0]
		fields := strings.Fields(string(run(t, "dpkg-deb", "--showformat", "${Package} ${Version}", "--show", file)))
		want[fields[0]] = fields[1] + " " + sum
	}
	if got := b.packages("SPDXRef-deb-"); len(want) < 10 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the bill of materials has\n%v\ndpkg-deb says\n%v", got, want)
	}
	var files []string
	for _, f := range b.Files {
		files = append(files, f.FileName)
	}
	if want := []string{"./etc/group", "./etc/passwd", "./etc/redis/redis.conf", "./etc/shadow"}; !slices.Equal(files, want) {
		t.Errorf("the recipe's files are %q, want %q", files, want)
	}
	validate(t, raw)
}

func debFile(t *testing.T, o Options, p deb.Pin) string {
	t.Helper()
	r, err := o.Store.Open(t.Context(), p.Digest())
	check(t, err)
	defer r.Close()
	var content bytes.Buffer
	_, err = content.ReadFrom(r)
	check(t, err)
	path := filepath.Join(t.TempDir(), "package.deb")
	check(t, os.WriteFile(path, content.Bytes(), 0o600))
	return path
}

func TestProgramsAreListedWithTheirModules(t *testing.T) {
	m, err := BuildMachine(t.Context(), MachineOptions{Options: helloOptions(t)})
	check(t, err)
	raw, err := os.ReadFile(m.SBOMPath())
	check(t, err)
	var b bill
	check(t, json.Unmarshal(raw, &b))
	programs := b.packages("SPDXRef-go-program-")
	if len(programs) != 1 || programs["hello/cmd/hello"] == "" {
		t.Errorf("got programs %v, want the one program", programs)
	}
	if packages := b.packages("SPDXRef-deb-"); len(packages) != 3 {
		t.Errorf("got packages %v, want those of the tree, the kernel and the stub", packages)
	}
	validate(t, raw)
}

func TestAPackageThatIsAnotherThanTheLockSaysIsRefused(t *testing.T) {
	o := helloOptions(t)
	o.Lock.Packages[0].Version = "2"
	_, err := BuildOCI(t.Context(), OCIOptions{Options: o})
	if err == nil || !strings.Contains(err.Error(), `its Version is "1", the lock says "2"`) {
		t.Fatalf("got %v, want the version named", err)
	}
}

// ring is a set of keys, and the signer of statements among them.
func ring(t *testing.T) *keys.Ring {
	t.Helper()
	r, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), date)
	check(t, err)
	return r
}

func TestProvenanceHoldsAllThatTheBuildRead(t *testing.T) {
	o := helloOptions(t)
	made, err := BuildOCI(t.Context(), OCIOptions{Options: o})
	check(t, err)
	statement := peek(t, attached(t, made.Dir, provenance.MediaType))
	p, err := provenance.Parse(statement)
	check(t, err)
	if !provenance.SpeaksOf(statement, made.Digest) || !provenance.SpeaksOf(statement, made.Config) {
		t.Errorf("got subjects %+v, want manifest and config", statement.Subject)
	}
	var files []string
	for _, f := range p.BuildDefinition.External.Files {
		files = append(files, f.Path)
	}
	want := []string{"cmd/hello/main.go", "go.mod", "images/hello/recipe.lock", "images/hello/recipe.yaml"}
	if !slices.Equal(files, want) {
		t.Errorf("it carries %q, want %q", files, want)
	}
	for i, name := range []string{"hello", "linux-image-6.1", "systemd-boot-efi", "go"} {
		if got := p.BuildDefinition.Dependencies[i]; got.Name != name || name != "go" && len(got.Digest["sha256"]) != 64 {
			t.Errorf("dependency %d is %+v, want %s by its digest", i, got, name)
		}
	}
}

func peek(t *testing.T, raw []byte) sign.Statement {
	t.Helper()
	envelope, err := sign.ParseEnvelope(raw)
	check(t, err)
	statement, err := sign.Peek(envelope)
	check(t, err)
	return statement
}

func TestSigningStatementsLeavesTheImageAsItIs(t *testing.T) {
	plain, err := BuildOCI(t.Context(), OCIOptions{Options: helloOptions(t)})
	check(t, err)
	o := helloOptions(t)
	o.Signers = []sign.Signer{ring(t).Statements()}
	signed, err := BuildOCI(t.Context(), OCIOptions{Options: o})
	check(t, err)
	if plain.Digest != signed.Digest {
		t.Errorf("got %s unsigned and %s signed, want one image", plain.Digest, signed.Digest)
	}
}

// openssl checks the signature over the protocol's pre-authentication encoding,
// made here by printf's rules: https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
func TestOpensslVerifiesTheProvenance(t *testing.T) {
	needs(t, "openssl", "openssl")
	o := helloOptions(t)
	o.Signers = []sign.Signer{ring(t).Statements()}
	made, err := BuildOCI(t.Context(), OCIOptions{Options: o})
	check(t, err)
	var envelope struct {
		PayloadType string
		Payload     []byte
		Signatures  []struct{ Sig, Cert []byte }
	}
	check(t, json.Unmarshal(attached(t, made.Dir, provenance.MediaType), &envelope))
	cert, err := x509.ParseCertificate(envelope.Signatures[0].Cert)
	check(t, err)
	public, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	check(t, err)
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(envelope.PayloadType), envelope.PayloadType, len(envelope.Payload), envelope.Payload)
	verify := func(message []byte) error {
		dir := t.TempDir()
		file := func(name string, b []byte) string {
			path := filepath.Join(dir, name)
			check(t, os.WriteFile(path, b, 0o600))
			return path
		}
		return exec.Command("openssl", "pkeyutl", "-verify", "-rawin", "-pubin",
			"-inkey", file("key", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
			"-in", file("message", message), "-sigfile", file("sig", envelope.Signatures[0].Sig)).Run()
	}
	if err := verify(pae); err != nil {
		t.Errorf("openssl refuses the signature: %v", err)
	}
	pae[len(pae)-10] ^= 1
	if err := verify(pae); err == nil {
		t.Error("openssl accepts the signature over an altered statement")
	}
}
