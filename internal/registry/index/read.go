package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"holdfast/internal/oci"
)

// Has says whether the index knows the repository.
func (d *DB) Has(name string) bool {
	return d.view(name, func(*repository) error { return nil }) == nil
}

// Manifest finds what a digest names in a repository.
func (d *DB) Manifest(name string, digest oci.Digest) (e Entry, err error) {
	err = d.view(name, func(r *repository) error {
		e, err = r.entry(digest)
		return err
	})
	return e, err
}

// Tagged finds what a tag names in a repository.
func (d *DB) Tagged(name, tag string) (e Entry, err error) {
	err = d.view(name, func(r *repository) error {
		digest := r.tags.Get([]byte(tag))
		if digest == nil {
			return fmt.Errorf("tag %s: %w", tag, ErrNotFound)
		}
		e, err = r.entry(oci.Digest(digest))
		return err
	})
	return e, err
}

// Tags gives up to n tags in byte order that come after last, and whether
// there are more.
func (d *DB) Tags(name, last string, n int) (list []string, more bool, err error) {
	err = d.view(name, func(r *repository) error {
		list, more = page(r.tags, last, n)
		return nil
	})
	return list, more, err
}

// Repositories gives up to n names as Tags does.
func (d *DB) Repositories(last string, n int) (list []string, more bool) {
	_ = d.bolt.View(func(tx *bbolt.Tx) error {
		list, more = page(tx.Bucket(repositories), last, n)
		return nil
	})
	return list, more
}

// page reads keys after last.
func page(b *bbolt.Bucket, last string, n int) (list []string, more bool) {
	c := b.Cursor()
	k, _ := c.Seek([]byte(last))
	if string(k) == last && k != nil {
		k, _ = c.Next()
	}
	for ; k != nil; k, _ = c.Next() {
		if len(list) >= n {
			return list, true
		}
		list = append(list, string(k))
	}
	return list, false
}

// Referrers calls visit for each manifest whose subject is the digest, after
// the one that last names, until it returns false.
func (d *DB) Referrers(name string, subject, last oci.Digest, visit func(Entry) bool) error {
	prefix := pair(string(subject), "")
	return d.view(name, func(r *repository) error {
		c := r.referrers.Cursor()
		for k, raw := c.Seek(pair(string(subject), string(last))); bytes.HasPrefix(k, prefix); k, raw = c.Next() {
			var e Entry
			if err := json.Unmarshal(raw, &e); err != nil {
				return err
			}
			if e.Digest != last && !visit(e) {
				return nil
			}
		}
		return nil
	})
}

// Each calls visit for every manifest of a repository, with its tags.
func (d *DB) Each(name string, visit func(e Entry, tags []string) error) error {
	return d.view(name, func(r *repository) error {
		return r.manifests.ForEach(func(_, raw []byte) error {
			var e Entry
			if err := json.Unmarshal(raw, &e); err != nil {
				return err
			}
			return visit(e, r.tagsOf(e.Digest))
		})
	})
}

// Tagging is an Entry and the tags to give it.
type Tagging struct {
	Entry
	Tags []string
}

// Import makes a repository of the entries, unless there is one.
func (d *DB) Import(name string, entries []Tagging) error {
	return d.bolt.Update(func(tx *bbolt.Tx) error {
		if _, err := find(tx, name); err == nil {
			return nil
		}
		return fill(tx, name, entries)
	})
}

// Replace makes a repository consist of the entries alone.
func (d *DB) Replace(name string, entries []Tagging) error {
	return d.bolt.Update(func(tx *bbolt.Tx) error {
		err := tx.Bucket(repositories).DeleteBucket([]byte(name))
		if err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
			return err
		}
		return fill(tx, name, entries)
	})
}

func fill(tx *bbolt.Tx, name string, entries []Tagging) error {
	r, err := ensure(tx, name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := r.put(e.Entry, e.Tags); err != nil {
			return err
		}
	}
	return nil
}

// Stale gives the repositories that changed since Written was said of them,
// each with the number of its last change.
func (d *DB) Stale() (map[string]uint64, error) {
	changed := map[string]uint64{}
	err := d.bolt.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(stale).ForEach(func(k, v []byte) error {
			changed[string(k)] = binary.BigEndian.Uint64(v)
			return nil
		})
	})
	return changed, err
}

// Written says that what Stale gave was written to each index.json. What
// changed again meanwhile stays stale.
func (d *DB) Written(changed map[string]uint64) error {
	return d.bolt.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(stale)
		for name, n := range changed {
			if v := b.Get([]byte(name)); v == nil || binary.BigEndian.Uint64(v) != n {
				continue
			}
			if err := b.Delete([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}
