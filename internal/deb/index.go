package deb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// ErrNoArchive is wrapped when neither mirror nor sources name an archive.
var ErrNoArchive = errors.New("no Debian mirror is known")

// An Index is one list of packages that an archive signed.
type Index struct {
	Suite  string
	Path   string // below dists/SUITE
	Digest oci.Digest
	Date   time.Time // of the Release that names it; UTC

	packages []*Package
}

const maxRelease = 16 << 20

// Indexes reads, through the store, what the archive has for an architecture
// in suite, and in its -updates and -security, which may be absent.
func (a *Archive) Indexes(ctx context.Context, suite, architecture string) (*Universe, error) {
	keys, err := a.keyring()
	if err != nil {
		return nil, err
	}
	suites := []string{suite, suite + "-updates", suite + "-security"}
	found := make([][]*Index, len(suites))
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range suites {
		group.Go(func() (err error) {
			found[i], err = a.suite(ctx, s, architecture, keys)
			if i > 0 && (errors.Is(err, errAbsent) || errors.Is(err, ErrNoArchive)) {
				a.cfg.Log.Warn("suite is not on this mirror", "suite", s)
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	u := newUniverse(suite, architecture)
	for _, list := range found {
		for _, x := range list {
			u.add(x)
		}
	}
	return u, nil
}

// suite reads the indexes of one suite from the first archive that has it,
// signed by our keys. Sources of other vendors may carry a suite's name too.
func (a *Archive) suite(ctx context.Context, suite, arch string, keys openpgp.EntityList) ([]*Index, error) {
	var problem error = ErrNoArchive
	for i, root := range a.archives(suite) {
		found, err := a.suiteAt(ctx, root, suite, arch, keys)
		if err == nil || ctx.Err() != nil {
			return found, err
		}
		if i == 0 || errors.Is(problem, errAbsent) {
			problem = err
		}
	}
	return nil, fmt.Errorf("suite %s: %w", suite, problem)
}

func (a *Archive) suiteAt(ctx context.Context, root, suite, arch string, keys openpgp.EntityList) ([]*Index, error) {
	base := root + "/dists/" + suite
	var signed []byte
	err := a.get(ctx, base+"/InRelease", progress.Silent.Start("", 0, progress.None), func(r io.Reader) (err error) {
		signed, err = io.ReadAll(io.LimitReader(r, maxRelease))
		return err
	})
	if err != nil {
		return nil, err
	}
	rel, err := a.openRelease(signed, keys)
	if err == nil {
		err = rel.check(suite, a.cfg.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("%s/InRelease: %w", base, err)
	}
	var found []*Index
	for _, component := range a.cfg.Components {
		x, err := a.index(ctx, base, suite, rel, component+"/binary-"+arch+"/Packages")
		if err != nil {
			return nil, err
		}
		found = append(found, x)
	}
	return found, nil
}

// forms of an index that are read, the preferred first: unpacking xz takes four
// times as long, at every lock, and saves a quarter of one download.
var forms = []string{".gz", ".xz"}

func (a *Archive) index(ctx context.Context, base, suite string, rel *release, name string) (*Index, error) {
	for _, form := range forms {
		file, ok := rel.files[name+form]
		if !ok {
			continue
		}
		x := &Index{Suite: suite, Path: name + form, Digest: file.digest, Date: rel.date}
		if err := a.fetchIndex(ctx, base, x, file.size, rel.byHash); err != nil {
			return nil, err
		}
		if err := a.readIndex(ctx, x); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", base, x.Path, err)
		}
		return x, nil
	}
	return nil, fmt.Errorf("%s/InRelease: no %s.xz or .gz: the suite lacks this component or architecture", base, name)
}

func (a *Archive) fetchIndex(ctx context.Context, base string, x *Index, size int64, byHash bool) error {
	if a.have(ctx, x.Digest) {
		return nil
	}
	urls := []string{base + "/" + x.Path}
	if byHash {
		hashed := base + "/" + path.Dir(x.Path) + "/by-hash/SHA256/" + x.Digest.Hex()
		urls = []string{hashed, urls[0]}
	}
	step := a.cfg.Progress.Start("index "+x.Suite, size, progress.Bytes)
	var err error
	for _, url := range urls {
		err = a.get(ctx, url, step, func(r io.Reader) error {
			return a.cfg.Store.Put(ctx, x.Digest, exactly(r, 0, size))
		})
		if !errors.Is(err, errAbsent) {
			break
		}
	}
	if err != nil {
		step.Fail()
		return err
	}
	step.Done("")
	return nil
}

// have says whether the store has a blob whose bytes are still good.
func (a *Archive) have(ctx context.Context, d oci.Digest) bool {
	err := blob.Verify(ctx, a.cfg.Store, d)
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		a.cfg.Log.Warn("cached file is not usable, fetching it again", "digest", d, "error", err)
	}
	return err == nil
}

func (a *Archive) readIndex(ctx context.Context, x *Index) error {
	f, err := a.cfg.Store.Open(ctx, x.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := decompress(path.Ext(x.Path), f)
	if err != nil {
		return err
	}
	defer text.Close()
	for p, err := range Paragraphs(text) {
		if err != nil {
			return err
		}
		name := p.Get("Package")
		if name == "" {
			return fmt.Errorf("a package has no name: %.60q", strings.TrimSpace(string(p)))
		}
		x.packages = append(x.packages, &Package{Name: name, Version: p.Get("Version"), Suite: x.Suite, Control: p})
	}
	return nil
}
