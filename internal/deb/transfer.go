package deb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"holdfast/internal/blob"
	"holdfast/internal/progress"
	"holdfast/internal/resume"
)

// errAbsent is a mirror's answer that it has no such file.
var errAbsent = errors.New("not on this mirror")

// open reads url from offset on, through broken connections. The step moves
// with it.
func (a *Archive) open(ctx context.Context, url string, offset int64, step progress.Step) (*body, error) {
	g := resume.Getter{Client: a.cfg.Client, Backoff: a.cfg.Backoff, Stall: a.cfg.Stall, Log: a.cfg.Log}
	r, err := g.Open(ctx, url, offset)
	var status *resume.StatusError
	if errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusGone) {
		err = errAbsent
	}
	return &body{Reader: r, step: step}, err
}

// get hands the body of url to use. What that added to step is taken back when
// it fails; it is called again when the body was put together from several
// answers, which may not have been of one whole.
func (a *Archive) get(ctx context.Context, url string, step progress.Step, use func(io.Reader) error) error {
	resumed, err := a.getOnce(ctx, url, step, use)
	if err != nil && resumed && ctx.Err() == nil {
		_, err = a.getOnce(ctx, url, step, use)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

func (a *Archive) getOnce(ctx context.Context, url string, step progress.Step, use func(io.Reader) error) (resumed bool, err error) {
	b, err := a.open(ctx, url, 0, step)
	if err != nil {
		return false, err
	}
	defer b.Close()
	if err = use(b); err != nil {
		step.Add(-b.n)
	}
	return b.Resumed(), err
}

// download brings a package file into the store, going on with what an
// earlier try, of another process maybe, received of it.
func (a *Archive) download(ctx context.Context, url string, p Pin, step progress.Step) error {
	store, ok := a.cfg.Store.(blob.Resumer)
	if !ok {
		return a.get(ctx, url, step, func(r io.Reader) error {
			return a.cfg.Store.Put(ctx, p.Digest(), exactly(r, 0, p.Size))
		})
	}
	part, commit, err := store.Resume(p.Digest())
	if err != nil {
		return err
	}
	defer part.Close()
	pieces, err := a.fill(ctx, url, p.Size, part, step)
	if err == nil {
		err = commit()
	}
	if err != nil && pieces && isWrong(err) {
		step.Add(-p.Size)
		if err = part.Reset(); err == nil {
			if _, err = a.fill(ctx, url, p.Size, part, step); err == nil {
				err = commit()
			}
		}
	}
	if err != nil && isWrong(err) {
		err = errors.Join(err, part.Reset())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// fill reads the rest of a part. It tells whether the part then has bytes of
// more than one answer.
func (a *Archive) fill(ctx context.Context, url string, size int64, part *blob.Part, step progress.Step) (pieces bool, err error) {
	before := part.Offset()
	step.Add(before)
	if before == size {
		return true, nil
	}
	b, err := a.open(ctx, url, before, step)
	if err != nil {
		return before > 0, err
	}
	defer b.Close()
	_, err = io.Copy(part, exactly(b, before, size))
	return before > 0 || b.Resumed(), err
}

// isWrong tells errors that show bytes of something else.
func isWrong(err error) bool {
	var mismatch *blob.MismatchError
	var size *sizeError
	return errors.As(err, &mismatch) || errors.As(err, &size) || errors.Is(err, resume.ErrRange)
}

// A body is a response being read: it moves the step.
type body struct {
	*resume.Reader
	step progress.Step
	n    int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.n += int64(n)
	b.step.Add(int64(n))
	return n, err
}

// exactly ends with a *sizeError unless r holds the bytes from offset to size.
func exactly(r io.Reader, offset, size int64) io.Reader {
	return &sized{r: r, left: size - offset, size: size}
}

type sized struct {
	r          io.Reader
	left, size int64
}

// A sizeError is a file that is shorter or longer than its index says.
type sizeError struct{ got, want int64 } // got is -1 when it goes on

func (e *sizeError) Error() string {
	if e.got < 0 {
		return fmt.Sprintf("longer than the %d bytes that its index says", e.want)
	}
	return fmt.Sprintf("%d bytes, its index says %d", e.got, e.want)
}

func (s *sized) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.left -= int64(n)
	if s.left < 0 {
		return n, &sizeError{-1, s.size}
	}
	if err == io.EOF && s.left > 0 {
		return n, &sizeError{s.size - s.left, s.size}
	}
	return n, err
}
