package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/api"
	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/measure"
	"holdfast/internal/boot/squashfs"
	"holdfast/internal/image/provenance"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
	"holdfast/internal/sign"
)

// The files of a machine image's folder.
const (
	diskFile       = "disk.img"
	ukiFile        = "uki.efi"
	referenceFile  = "reference.json"
	sbomFile       = "sbom.spdx.json"
	provenanceFile = "provenance.json"
	machineFile    = "image.json"
)

// A Machine describes a machine image; it is the content of image.json.
// docs/formats/machine-image.md is its reference.
type Machine struct {
	Version      int        `json:"version"` // 1
	Name         string     `json:"name"`
	Architecture string     `json:"architecture"`
	Date         time.Time  `json:"date"`   // the lock's
	Recipe       oci.Digest `json:"recipe"` // as the lock has it
	Kernel       string     `json:"kernel"`
	Cmdline      string     `json:"cmdline"`
	Signed       bool       `json:"signed"`
	UKI          Blob       `json:"uki"`
	Root         Blob       `json:"root"`
	RootHash     string     `json:"root_hash"` // 64 hex digits
	Reference    Blob       `json:"reference"`
	SBOM         Blob       `json:"sbom"`
	Provenance   Blob       `json:"provenance"`
	Disk         Disk       `json:"disk"`

	Dir string `json:"-"` // where it was found
}

// A Blob is a file, or part of one, by its size and digest.
type Blob struct {
	File   string     `json:"file,omitempty"`
	Size   int64      `json:"size"`
	Digest oci.Digest `json:"digest"`
}

// A Disk says what lies where in disk.img.
type Disk struct {
	Blob
	Partitions []Partition `json:"partitions"`
}

// A Partition of the disk. Start and Size are in bytes.
type Partition struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	GUID  string `json:"guid"`
	Start int64  `json:"start"`
	Size  int64  `json:"size"`
}

// ReadMachine reads the description of the machine image in dir.
func ReadMachine(dir string) (*Machine, error) {
	raw, err := input.ReadFile(filepath.Join(dir, machineFile), input.Document)
	if err != nil {
		return nil, err
	}
	m := &Machine{Dir: dir}
	if err := input.JSON(raw, m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, machineFile), err)
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("%s: version %d: want 1", filepath.Join(dir, machineFile), m.Version)
	}
	return m, nil
}

// DiskPath, UKIPath and ReferencePath are the image's files.
func (m *Machine) DiskPath() string      { return filepath.Join(m.Dir, diskFile) }
func (m *Machine) UKIPath() string       { return filepath.Join(m.Dir, ukiFile) }
func (m *Machine) ReferencePath() string { return filepath.Join(m.Dir, referenceFile) }

// BootPath is where the UKI lies on the EFI system partition.
func (m *Machine) BootPath() string { return platforms[m.Architecture].bootPath }

// SBOMPath and ProvenancePath are what the build stated of the image.
func (m *Machine) SBOMPath() string       { return filepath.Join(m.Dir, sbomFile) }
func (m *Machine) ProvenancePath() string { return filepath.Join(m.Dir, provenanceFile) }

func describeDisk(ctx context.Context, f *os.File, size int64) (*Disk, error) {
	table, err := gpt.Read(f, size)
	if err != nil {
		return nil, err
	}
	d := &Disk{Blob: Blob{File: diskFile, Size: size}}
	for _, e := range table.Partitions {
		d.Partitions = append(d.Partitions, Partition{
			Name: e.Name, Type: e.Type.String(), GUID: e.GUID.String(), Start: e.Start, Size: e.Size,
		})
	}
	var g errgroup.Group
	g.Go(f.Sync) // beside the hash; commit then finds it done
	sum := sha256.New()
	_, err = io.CopyBuffer(io.MultiWriter(sum, meter{ctx, progress.Silent.Start("", 0, "")}), io.NewSectionReader(f, 0, size), make([]byte, 1<<20))
	d.Digest = sumOf(sum)
	return d, errors.Join(err, g.Wait())
}

// describe writes image.json and what is stated of the image.
func (m *machineBuild) describe(expected *api.ReferenceValues, k *kernel, uki []byte, r *root, disk *Disk) (*Machine, error) {
	image := &Machine{
		Version: 1, Name: m.Recipe.Name, Architecture: m.Lock.Architecture, Date: m.Lock.Date.UTC(), Recipe: m.Lock.Recipe,
		Kernel: k.version, Cmdline: m.cmdline(r), Signed: m.opts.Keys != nil,
		UKI:  Blob{File: ukiFile, Size: int64(len(uki)), Digest: oci.SHA256(uki)},
		Root: Blob{Size: r.size, Digest: r.digest}, RootHash: r.Hash(), Disk: *disk, Dir: m.folder.final,
	}
	envelope, err := m.reference(expected, image)
	if err != nil {
		return nil, fmt.Errorf("reference values: %w", err)
	}
	said, err := m.statements(image)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name    string
		content []byte
		blob    *Blob
	}{
		{referenceFile, envelope, &image.Reference}, {sbomFile, said.sbom, &image.SBOM}, {provenanceFile, said.provenance, &image.Provenance},
	} {
		*f.blob = Blob{File: f.name, Size: int64(len(f.content)), Digest: oci.SHA256(f.content)}
		if err := m.folder.writeFile(f.content, f.name); err != nil {
			return nil, err
		}
	}
	raw, err := json.MarshalIndent(image, "", "  ")
	if err != nil {
		return nil, err
	}
	return image, m.folder.writeFile(append(raw, '\n'), machineFile)
}

// reference states what evidence of a boot of the image must show.
func (m *machineBuild) reference(values *api.ReferenceValues, image *Machine) ([]byte, error) {
	values.Image, values.UKI, values.RootHash = image.Name, string(image.UKI.Digest), image.RootHash
	statement, err := sign.NewStatement(api.ReferenceType, values, image.Subjects()...)
	if err != nil {
		return nil, err
	}
	envelope, err := sign.Seal(statement, m.Signers...)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(envelope)
	return append(raw, '\n'), err
}

// Subjects are the parts of the image that statements speak of.
func (m *Machine) Subjects() []sign.Subject {
	return []sign.Subject{
		provenance.Subject(diskFile, m.Disk.Digest), provenance.Subject("root", m.Root.Digest), provenance.Subject(ukiFile, m.UKI.Digest),
	}
}

func (m *machineBuild) statements(image *Machine) (*statements, error) {
	return m.state(product{
		format: "machine", digest: image.Disk.Digest, purpose: "OPERATING_SYSTEM", tree: m.files,
		internal: map[string]string{"squashfs": squashfs.CodecID()}, subjects: image.Subjects(),
	})
}

// predict splits the predicted PCRs into those that firmware has a part in
// and those that only the image decides.
func (m *machineBuild) predict(k *kernel, uki []byte) (*api.ReferenceValues, error) {
	var enrolled *efivar.Keys
	if m.opts.Keys != nil {
		enrolled = &m.opts.Keys.Enrolled
	}
	p, err := measure.Predict(measure.Boot{UKI: uki, Keys: enrolled, Stub: k.stub})
	if err != nil {
		return nil, err
	}
	values := &api.ReferenceValues{Firmware: []api.FirmwareReference{}, PCRs: pcrs(p, 11, 12, 13)}
	for _, path := range m.opts.Firmware {
		code, err := input.ReadFile(path, input.Firmware)
		if err != nil {
			return nil, err
		}
		values.Firmware = append(values.Firmware, api.FirmwareReference{
			Firmware: string(oci.SHA256(code)), SecureBoot: enrolled != nil, PCRs: pcrs(p, 4, 7),
		})
	}
	return values, nil
}

func pcrs(p *measure.Prediction, numbers ...int) map[string]string {
	picked := map[string]string{}
	for _, n := range numbers {
		value := p.PCRs[n]
		picked[strconv.Itoa(n)] = hex.EncodeToString(value[:])
	}
	return picked
}
