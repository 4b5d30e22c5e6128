package state

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// BeforeFolder is where the files go that were imported, but for resources: these
// are wiped.
const BeforeFolder = "before-sqlite"

// oldFolders are what brokers kept before there was a database:
//
//	resources/REPOSITORY/TYPE/TAG         a secret each, in clear
//	configurations/HEX.json               api.Configuration
//	references/HEX.json                   envelopes as they came
//	policies/{attestation,resource}.rego
//	attested/SESSION.json                 api.ProofAttestation
//	proofs/ID.json
var oldFolders = map[string]func(*importer, string, file) error{
	"resources":      (*importer).resource,
	"configurations": (*importer).configuration,
	"references":     (*importer).reference,
	"policies":       (*importer).policy,
	"attested":       (*importer).attested,
	"proofs":         (*importer).proof,
}

// A file of before: its content and when it was written.
type file struct {
	raw  []byte
	time time.Time
}

type importer struct {
	*Store
	ctx context.Context
	tx  *sql.Tx
}

func (s *Store) importFiles(ctx context.Context, tx *sql.Tx) error {
	for name, take := range oldFolders {
		if err := (&importer{s, ctx, tx}).folder(name, take); err != nil {
			return fmt.Errorf("import the files of before: %w", err)
		}
	}
	return nil
}

// folder takes in the files of a folder, in order of name; those that begin
// with a dot were never finished.
func (i *importer) folder(name string, take func(*importer, string, file) error) error {
	root := filepath.Join(i.dir, name)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		raw, err := input.ReadFile(path, input.Document)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if err := take(i, filepath.ToSlash(rel), file{raw, info.ModTime()}); err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(name, rel), err)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (i *importer) resource(name string, f file) error {
	sealed, err := i.cfg.Sealer.Seal(i.ctx, name, f.raw)
	if err != nil {
		return err
	}
	return setResource(i.ctx, i.tx, name, sealed, true)
}

func (i *importer) document(kind, name string, f file) error {
	_, err := i.setDocument(i.ctx, i.tx, api.Version{
		Kind: kind, Name: name, Time: f.time, Actor: "import", Comment: "from a file of before", Content: f.raw})
	return err
}

func (i *importer) configuration(name string, f file) error {
	var c api.Configuration
	if err := json.Unmarshal(f.raw, &c); err != nil {
		return err
	}
	if c.Digest != digestNamed(name) {
		return fmt.Errorf("it is about %s", c.Digest)
	}
	return i.document(api.ConfigurationKind, c.Digest, f)
}

func (i *importer) reference(name string, f file) error {
	return i.document(api.ReferenceKind, digestNamed(name), f)
}

func (i *importer) policy(name string, f file) error {
	return i.document(api.PolicyKind, strings.TrimSuffix(name, ".rego"), f)
}

// attested records were kept for five minutes, and a little.
func (i *importer) attested(name string, f file) error {
	b, session := &bundle{}, strings.TrimSuffix(name, ".json")
	b.add(session, f.raw)
	var id int64
	if err := i.tx.QueryRowContext(i.ctx, lastOf, "attested").Scan(&id); err != nil {
		return err
	}
	id++
	key := sessionKey(session)
	_, err := i.tx.ExecContext(i.ctx, intoAttested, id, f.time.Add(10*time.Minute).Unix(), binary.BigEndian.AppendUint64(nil, uint64(key)), i.squeezer.bundle(b))
	if err == nil {
		_, err = i.tx.ExecContext(i.ctx, foundIn+" VALUES (?, ?)", key, id)
	}
	return err
}

func (i *importer) proof(name string, f file) error {
	return keepProof(i.ctx, i.tx, strings.TrimSuffix(name, ".json"), f.raw)
}

func digestNamed(file string) string { return "sha256:" + strings.TrimSuffix(file, ".json") }

// moveAside puts away the files that the database now has. It is done again at
// the next open when a crash comes between.
func (s *Store) moveAside() error {
	aside := filepath.Join(s.dir, BeforeFolder)
	for name := range oldFolders {
		from, to := filepath.Join(s.dir, name), filepath.Join(aside, name)
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := os.Lstat(to); err == nil {
			s.cfg.Log.Warn("broker: a folder is not read any more: the state is in "+File, "folder", from)
			continue
		}
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return err
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
		if err := errors.Join(atomicfile.SyncDir(aside), atomicfile.SyncDir(s.dir)); err != nil {
			return err
		}
	}
	return nil
}
