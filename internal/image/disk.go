package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/internal/boot/fat"
	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
	"holdfast/internal/progress"
)

// espRoom is the smallest EFI system partition: two kernel images fit, so
// that an update can put a second one beside the first.
const espRoom = 64 << 20

// disk writes disk.img and describes what is where.
func (m *machineBuild) disk(ctx context.Context, uki []byte, r *root) (*Disk, error) {
	step := m.Progress.Start("write disk", 0, progress.Bytes)
	d, err := m.writeDisk(ctx, uki, r, step)
	if err != nil {
		step.Fail()
		return nil, fmt.Errorf("disk: %w", err)
	}
	step.Done(d.Digest.Short())
	return d, nil
}

func (m *machineBuild) writeDisk(ctx context.Context, uki []byte, r *root, step progress.Step) (*Disk, error) {
	f, err := os.OpenFile(m.folder.path(diskFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	esp := m.esp(uki, r)
	content, stop := streamed(func(w io.Writer) error { return fat.Write(io.MultiWriter(w, meter{ctx, step}), esp) })
	defer stop()
	layout := m.platform.disk(esp.Size, content, r)
	if err := gpt.Write(f, layout); err != nil {
		return nil, err
	}
	if err := f.Truncate(layout.Size()); err != nil {
		return nil, err
	}
	return describeDisk(ctx, f, layout.Size())
}

// esp holds the kernel image and nothing else, on purpose: whatever else lies
// there is unmeasured or changes PCR 12.
func (m *machineBuild) esp(uki []byte, r *root) fat.Volume {
	const mb = 1 << 20
	id := guidFor("esp volume", r)
	return fat.Volume{
		Label: "ESP", ID: uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3]),
		Time:  m.Lock.Date.UTC().Truncate(2 * time.Second), // all that FAT can hold
		Size:  max(espRoom, (int64(2*len(uki))/mb+4)*mb),
		Files: []fat.File{{Path: m.platform.bootPath, Size: int64(len(uki)), Content: bytes.NewReader(uki)}},
	}
}

// disk names root and hash tree by the two halves of the root hash:
// https://uapi-group.org/specifications/specs/discoverable_partitions_specification/
func (p platform) disk(espSize int64, esp io.Reader, r *root) gpt.Disk {
	return gpt.Disk{GUID: guidFor("disk", r), Partitions: []gpt.Partition{
		{Name: "esp", Type: gpt.TypeESP, GUID: guidFor("esp", r), Size: espSize, Content: esp},
		{Name: "root", Type: p.root, GUID: guid.GUID(r.verity.Root[:16]), Attributes: gpt.ReadOnly,
			Size: r.size, Content: r},
		{Name: "root-verity", Type: p.verity, GUID: guid.GUID(r.verity.Root[16:]), Attributes: gpt.ReadOnly,
			Size: r.verity.Size(), Content: bytes.NewReader(r.verity.Device())},
	}}
}

// guidFor is a GUID for what has to differ between disks and needs no meaning.
func guidFor(what string, r *root) guid.GUID {
	sum := sha256.Sum256(append([]byte("holdfast "+what+"\x00"), r.verity.Root[:]...))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562, 5.8
	return guid.GUID(sum[:16])
}

// streamed runs write beside the reader of what it writes. Stop waits for it.
func streamed(write func(io.Writer) error) (r io.Reader, stop func()) {
	in, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.CloseWithError(write(out))
	}()
	return in, func() { _ = in.Close(); <-done }
}
