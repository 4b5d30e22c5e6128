// Package index knows what repositories consist of: their manifests, their
// tags and who refers to whom.
//
// It is a database on the disk (bbolt) and not the index.json of each
// repository's layout, so that a push costs the same with ten tags as with a
// million, a list of tags is read page by page, and a change that was
// acknowledged survives a power cut.
package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"holdfast/internal/oci"
)

// ErrNotFound says that there is no such repository, manifest or tag.
var ErrNotFound = errors.New("not in the index")

// An Entry is a manifest of a repository.
type Entry struct {
	MediaType    string            `json:"mediaType"`
	Digest       oci.Digest        `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"` // only of what has a subject
	Subject      oci.Digest        `json:"subject,omitempty"`
}

// The buckets: one for each repository, with four in it.
var (
	repositories = []byte("repositories")
	manifests    = []byte("m") // digest → Entry
	tags         = []byte("t") // tag → digest
	tagged       = []byte("d") // digest NUL tag →
	referrers    = []byte("s") // subject NUL digest → Entry

	stale = []byte("stale") // repository → number of the change that its index.json lacks
)

// A DB is safe for several goroutines; the file is held against other
// processes.
type DB struct{ bolt *bbolt.DB }

// wait bounds how long Open waits for a process that holds the file.
const wait = time.Second

// together is how long a change waits for others to be synced with it.
const together = 500 * time.Microsecond

// addresses are kept for the file to grow into: until it has, no change waits
// for a list that is being read.
const addresses = 256 << 20

// Open opens the database in the file path, which is made when absent.
func Open(path string) (*DB, error) {
	return open(path, &bbolt.Options{Timeout: wait, FreelistType: bbolt.FreelistMapType, InitialMmapSize: addresses})
}

// OpenTemporary makes an empty database that nobody else sees and that is
// gone with the process.
func OpenTemporary() (*DB, error) {
	f, err := os.CreateTemp("", "holdfast-index-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	return open(f.Name(), &bbolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true})
}

func open(path string, o *bbolt.Options) (*DB, error) {
	b, err := bbolt.Open(path, 0o600, o)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", path, err)
	}
	b.MaxBatchDelay = together
	err = b.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(repositories)
		_, err2 := tx.CreateBucketIfNotExists(stale)
		return errors.Join(err, err2)
	})
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return &DB{b}, nil
}

// Close lets go of the file.
func (d *DB) Close() error { return d.bolt.Close() }

// A repository's buckets within a transaction.
type repository struct{ manifests, tags, tagged, referrers *bbolt.Bucket }

func find(tx *bbolt.Tx, name string) (*repository, error) {
	b := tx.Bucket(repositories).Bucket([]byte(name))
	if b == nil {
		return nil, fmt.Errorf("repository %s: %w", name, ErrNotFound)
	}
	return &repository{b.Bucket(manifests), b.Bucket(tags), b.Bucket(tagged), b.Bucket(referrers)}, nil
}

func ensure(tx *bbolt.Tx, name string) (*repository, error) {
	if r, err := find(tx, name); err == nil {
		return r, nil
	}
	b, err := tx.Bucket(repositories).CreateBucket([]byte(name))
	if err != nil {
		return nil, err
	}
	for _, part := range [][]byte{manifests, tags, tagged, referrers} {
		if _, err := b.CreateBucket(part); err != nil {
			return nil, err
		}
	}
	return find(tx, name)
}

// update changes a repository that exists, or is made, with a sync that
// concurrent changes share.
func (d *DB) update(name string, create bool, change func(r *repository) error) error {
	return d.bolt.Batch(func(tx *bbolt.Tx) error {
		get := find
		if create {
			get = ensure
		}
		r, err := get(tx, name)
		if err != nil {
			return err
		}
		n, err := tx.Bucket(stale).NextSequence()
		if err != nil {
			return err
		}
		if err := tx.Bucket(stale).Put([]byte(name), binary.BigEndian.AppendUint64(nil, n)); err != nil {
			return err
		}
		return change(r)
	})
}

func (d *DB) view(name string, read func(r *repository) error) error {
	return d.bolt.View(func(tx *bbolt.Tx) error {
		r, err := find(tx, name)
		if err != nil {
			return err
		}
		return read(r)
	})
}

// pair is a key of two parts.
func pair(a, b string) []byte { return []byte(a + "\x00" + b) }

// Create makes a repository, unless it is there.
func (d *DB) Create(name string) error {
	return d.bolt.Batch(func(tx *bbolt.Tx) error {
		_, err := ensure(tx, name)
		return err
	})
}

// Put records the manifest and gives it the tags. When it returns, all is on
// the disk.
func (d *DB) Put(name string, e Entry, names ...string) error {
	return d.update(name, true, func(r *repository) error { return r.put(e, names) })
}

func (r *repository) put(e Entry, names []string) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	err = r.manifests.Put([]byte(e.Digest), raw)
	if err == nil && e.Subject != "" {
		err = r.referrers.Put(pair(string(e.Subject), string(e.Digest)), raw)
	}
	for _, tag := range names {
		err = errors.Join(err, r.tag(tag, e.Digest))
	}
	return err
}

func (r *repository) tag(tag string, d oci.Digest) error {
	err := r.untag(tag)
	err = errors.Join(err, r.tags.Put([]byte(tag), []byte(d)))
	return errors.Join(err, r.tagged.Put(pair(string(d), tag), nil))
}

func (r *repository) untag(tag string) error {
	old := r.tags.Get([]byte(tag))
	if old == nil {
		return nil
	}
	return errors.Join(r.tagged.Delete(pair(string(old), tag)), r.tags.Delete([]byte(tag)))
}

// Untag takes a tag away.
func (d *DB) Untag(name, tag string) error {
	return d.update(name, false, func(r *repository) error {
		if r.tags.Get([]byte(tag)) == nil {
			return fmt.Errorf("tag %s: %w", tag, ErrNotFound)
		}
		return r.untag(tag)
	})
}

// Delete takes a manifest away, with its tags and as a referrer.
func (d *DB) Delete(name string, digest oci.Digest) error {
	return d.update(name, false, func(r *repository) error {
		e, err := r.entry(digest)
		if err != nil {
			return err
		}
		for _, tag := range r.tagsOf(digest) {
			err = errors.Join(err, r.untag(tag))
		}
		if e.Subject != "" {
			err = errors.Join(err, r.referrers.Delete(pair(string(e.Subject), string(digest))))
		}
		return errors.Join(err, r.manifests.Delete([]byte(digest)))
	})
}

func (r *repository) entry(digest oci.Digest) (e Entry, err error) {
	raw := r.manifests.Get([]byte(digest))
	if raw == nil {
		return e, fmt.Errorf("manifest %s: %w", digest, ErrNotFound)
	}
	return e, json.Unmarshal(raw, &e)
}

func (r *repository) tagsOf(digest oci.Digest) (names []string) {
	prefix := pair(string(digest), "")
	c := r.tagged.Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		names = append(names, string(k[len(prefix):]))
	}
	return names
}
