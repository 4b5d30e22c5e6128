package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

const (
	resultFile = "/etc/.ignition-result.json"
	keyDir     = "/etc/luks"
)

// provided writes what the platform said in another way than by its config.
func (s *stage) provided(ctx context.Context, _ types.Config) error {
	entries := make([]entry, 0, len(s.State.ProviderOutputFiles))
	for i, f := range s.State.ProviderOutputFiles {
		entries = append(entries, s.fileEntry(f, fmt.Sprintf("platform's file %d", i)))
	}
	if err := s.place(entries); err != nil {
		return err
	}
	return s.make(ctx, entries)
}

// crypttab names the config's volumes for the boot, and stores key files where
// it says.
func (s *stage) crypttab(ctx context.Context, c types.Config) error {
	at, err := s.dir.Resolve("/etc/crypttab")
	if err != nil {
		return err
	}
	var lines strings.Builder
	for i, l := range c.Storage.Luks {
		line, err := s.volume(ctx, l)
		if err != nil {
			return ignition.At(fmt.Errorf("volume %s: %w", l.Name, err), "$.storage.luks[%d]", i)
		}
		if !s.hasLine(at, strings.TrimSuffix(line, "\n")) {
			lines.WriteString(line)
		}
	}
	s.State.LuksPersistKeyFiles = nil
	if lines.Len() == 0 {
		return nil
	}
	return s.appendLines("/etc/crypttab", lines.String())
}

func (s *stage) volume(ctx context.Context, l types.Luks) (string, error) {
	device, err := s.Resolve(*l.Device)
	if err != nil {
		return "", err
	}
	uuid, err := luksUUID(device)
	if err != nil {
		return "", err
	}
	options := "luks"
	custom := l.Clevis.Custom
	if len(l.Clevis.Tang) > 0 || (custom.Pin != nil && *custom.Pin != "" && custom.NeedsNetwork != nil && *custom.NeedsNetwork) {
		options += ",_netdev"
	}
	key := "none"
	if !l.Clevis.IsPresent() {
		key = keyDir + "/" + l.Name
		if err := s.keyFile(ctx, key, l.Name); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s UUID=%s %s %s\n", l.Name, uuid, key, options), nil
}

func (s *stage) keyFile(ctx context.Context, path, name string) error {
	source, ok := s.State.LuksPersistKeyFiles[name]
	if !ok {
		return errors.New("the disks stage left no key file for it")
	}
	at, err := s.dir.Resolve(path)
	if err != nil {
		return err
	}
	folder, err := s.dir.Follow(keyDir)
	if err != nil {
		return err
	}
	if err := s.dir.Parents(folder); err != nil {
		return err
	}
	if err := s.dir.Folders(folder, 0o700, nil); err != nil {
		return err
	}
	mode := 0o600
	return s.file(ctx, at, types.File{FileEmbedded1: types.FileEmbedded1{Contents: types.Resource{Source: &source}, Mode: &mode}})
}

func (s *stage) appendLines(path, lines string) error {
	at, err := s.dir.Resolve(path)
	if err != nil {
		return err
	}
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	f, err := s.dir.OpenFile(at, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lines)
	return errors.Join(err, f.Chmod(0o600), f.Close())
}

// luksUUID is in the header of both formats at one place (LUKS1 and LUKS2
// on-disk format specifications).
func luksUUID(device string) (string, error) {
	f, err := os.Open(device)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	header := make([]byte, 208)
	if _, err := io.ReadFull(f, header); err != nil || string(header[:6]) != "LUKS\xba\xbe" {
		return "", fmt.Errorf("%s: no LUKS header", device)
	}
	uuid, _, _ := strings.Cut(string(header[168:]), "\x00")
	return uuid, nil
}

// A result is upstream's record of a run.
type result struct {
	BootID     string `json:"provisioningBootID"`
	Date       string `json:"provisioningDate"`
	UserConfig bool   `json:"userConfigProvided"`
	Previous   any    `json:"previousReport,omitempty"`
}

// result is kept in the root: that, when and in which boot the engine ran.
func (s *stage) result(_ context.Context, _ types.Config) error {
	r := result{BootID: s.BootID, Date: s.Now().Format(time.RFC3339)}
	for _, c := range s.State.FetchedConfigs {
		r.UserConfig = r.UserConfig || c.Kind == "user"
	}
	at, err := s.dir.Resolve(resultFile)
	if err != nil {
		return err
	}
	before, err := s.dir.ReadFile(at)
	switch {
	case err == nil:
		if json.Unmarshal(before, &r.Previous) != nil {
			return fmt.Errorf("%s: is there already, and not what an engine wrote", resultFile)
		}
		s.Log.Warn("an engine ran on this root before", "record", resultFile)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := s.text(resultFile, string(raw)+"\n"); err != nil {
		return err
	}
	return s.dir.Chmod(at, 0o600)
}
