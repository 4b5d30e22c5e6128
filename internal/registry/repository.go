package registry

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// A repository's folder is an OCI image layout whose blobs are links into the
// pool: the link says that the repository has the blob, the pool says what
// its bytes are.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md

const (
	layoutFile = `{"imageLayoutVersion":"1.0.0"}`
	emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
)

func (r *Registry) folder(repository string) string {
	return filepath.Join(r.config.Dir, filepath.FromSlash(repository))
}

// link is what a repository calls a blob.
func (r *Registry) link(repository string, d oci.Digest) string {
	return filepath.Join(r.folder(repository), "blobs", d.Algorithm(), d.Hex())
}

// exists makes sure that there is such a repository and that the index knows
// what is in it.
func (r *Registry) exists(repository string) error {
	if r.config.ReadOnly {
		return r.reimport(repository)
	}
	if r.index.Has(repository) {
		return nil
	}
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.index.Has(repository) {
		return nil
	}
	err := r.importLayout(repository)
	if errors.Is(err, fs.ErrNotExist) {
		return nameUnknown()
	}
	return err
}

// has says whether a repository lists the blob, rotten or not.
func (r *Registry) has(repository string, d oci.Digest) bool {
	_, err := os.Lstat(r.link(repository, d))
	return err == nil
}

// create makes the repository's folder, unless it is there. Nothing is
// synced: the first manifest is.
func (r *Registry) create(repository string) error {
	err := r.exists(repository)
	var unknown *problem
	if !errors.As(err, &unknown) {
		return err
	}
	if err := r.makeFolder(r.folder(repository)); err != nil {
		return err
	}
	return r.index.Create(repository)
}

func (r *Registry) makeFolder(dir string) error {
	r.opening.Lock()
	defer r.opening.Unlock()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	return errors.Join(writeNew(filepath.Join(dir, "oci-layout"), layoutFile), writeNew(filepath.Join(dir, "index.json"), emptyIndex))
}

// writeNew makes a small file that nobody sees half, unless there is one.
func writeNew(path, content string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	temp := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err := os.WriteFile(temp, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// open opens a blob that the repository has. What rotted is not there, and a
// link that leads to it is mended when the pool has the blob again.
func (r *Registry) open(repository string, d oci.Digest) (*os.File, fs.FileInfo, error) {
	f, err := os.Open(r.link(repository, d))
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && r.pool != nil {
		f, info, err = r.pooled(repository, d, f, info)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// pooled exchanges a file for the pool's, which it mostly is already.
func (r *Registry) pooled(repository string, d oci.Digest, f *os.File, info fs.FileInfo) (*os.File, fs.FileInfo, error) {
	in, err := r.pool.Stat(d)
	if err == nil && r.doubt.about(in) {
		err = r.settle(r.ctx, d)
	}
	if err == nil && in.Is(info) {
		return f, info, nil
	}
	if errors.Is(err, blob.ErrNotFound) {
		if r.pool.IsQuarantined(d, info) {
			return f, info, err
		}
		err = r.adopt(d, f)
	}
	if err == nil {
		err = r.pool.Link(d, r.link(repository, d))
	}
	if err != nil {
		return f, info, err
	}
	_ = f.Close()
	if f, err = r.pool.File(d); err != nil {
		return nil, nil, err
	}
	info, err = f.Stat()
	return f, info, err
}

// adopt takes a blob into the pool that somebody put into a layout, as the
// registry did before it had one. Other bytes than d go to quarantine.
func (r *Registry) adopt(d oci.Digest, f *os.File) error {
	checked, err := blob.NewReader(d, f)
	if err != nil {
		return err
	}
	_, wrong := io.Copy(io.Discard, checked)
	var mismatch *blob.MismatchError
	if wrong != nil && !errors.As(wrong, &mismatch) {
		return wrong
	}
	if wrong == nil {
		return r.pool.Add(d, f.Name())
	}
	r.config.Logger.Warn("a blob is not what its name says", "file", f.Name(), "cause", wrong)
	return errors.Join(blob.ErrNotFound, r.pool.Condemn(d, f.Name()))
}

// share gives a repository a blob that the pool has.
func (r *Registry) share(repository string, d oci.Digest) error {
	r.linking.RLock()
	defer r.linking.RUnlock()
	return r.hold(repository, d)
}

// hold gives a repository a link to a blob of the pool; r.linking is held.
func (r *Registry) hold(repository string, d oci.Digest) error {
	r.spared.add(d)
	to := r.link(repository, d)
	err := r.pool.Link(d, to)
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, blob.ErrNotFound) {
		if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
			err = r.pool.Link(d, to)
		}
	}
	return err
}

// keep makes sure that the repository has the blob, and spares it from a
// collection that begins before a manifest can name it.
func (r *Registry) keep(repository string, d oci.Digest) (int64, error) {
	f, info, err := r.open(repository, d)
	if err != nil {
		return 0, err
	}
	_ = f.Close()
	r.linking.RLock()
	defer r.linking.RUnlock()
	if _, err := os.Lstat(r.link(repository, d)); err != nil {
		return 0, err
	}
	r.spared.add(d)
	return info.Size(), r.pool.Touch(d)
}
