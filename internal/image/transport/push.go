package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	rtransport "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"holdfast/internal/atomicfile"
	"holdfast/internal/oci"
	"holdfast/internal/resume"
)

// chunkSize is how much of a blob goes up in one request: no more is lost
// when a connection breaks at a registry that keeps whole requests only.
const chunkSize = 16 << 20

// pushTries is how often in a row an upload may fail without getting further.
const pushTries = 4

// maxBegun is how often an upload is begun that the registry forgets, or finds
// wrong when all is there.
const maxBegun = 3

// A push brings one blob to a registry, in the ways of the distribution
// specification 1.1, "Pushing blobs": it asks whether the blob is there, has
// it mounted from another repository of the registry, or sends it in chunks.
// Where an upload stands is asked of the registry, so a second try, of another
// process maybe, sends the rest alone.
type push struct {
	*remoteTarget
	client *http.Client
	b      blob
	from   *name.Reference // the source, when it is in the same registry
	at     *url.URL        // of the upload under way
	offset int64           // what the registry has of it
	chunk  int64           // at least, as the registry wants it
	begun  int             // how often from the start
}

func (p *push) run(ctx context.Context) error {
	there, err := p.insist(ctx, p.isThere)
	if err != nil || there {
		return err
	}
	if !p.takeUp(ctx) {
		if mounted, err := p.insist(ctx, p.begin); err != nil || mounted {
			return err
		}
	}
	for broken := 0; ; {
		before := p.offset
		err := p.send(ctx)
		if err == nil {
			p.forget()
			return nil
		}
		if broken++; p.offset > before {
			broken = 1
		}
		if ctx.Err() != nil || errors.Is(err, ErrDigest) || broken == pushTries || p.begun == maxBegun || isFinal(err) {
			return err
		}
		if err := p.pause(ctx, err, broken); err != nil {
			return err
		}
		if p.status(ctx) != nil { // the registry has forgotten it
			if mounted, err := p.begin(ctx); err != nil || mounted {
				return err
			}
		}
	}
}

// insist asks again what got no answer, or one of a registry that may have a
// better one later.
func (p *push) insist(ctx context.Context, ask func(context.Context) (bool, error)) (bool, error) {
	for broken := 1; ; broken++ {
		yes, err := ask(ctx)
		var answer *rtransport.Error
		told := errors.As(err, &answer) && !resume.Passing(answer.StatusCode)
		if err == nil || ctx.Err() != nil || told || broken == pushTries {
			return yes, err
		}
		if err := p.pause(ctx, err, broken); err != nil {
			return false, err
		}
	}
}

// isFinal tells answers that will be the same again. That of 400, 401, 404 and
// 416 may change when the upload's state is asked for anew.
func isFinal(err error) bool {
	var answer *rtransport.Error
	if !errors.As(err, &answer) || resume.Passing(answer.StatusCode) {
		return false
	}
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
		return isAbout(answer, rtransport.DigestInvalidErrorCode)
	}
	return true
}

func isAbout(answer *rtransport.Error, code rtransport.ErrorCode) bool {
	for _, d := range answer.Errors {
		if d.Code == code {
			return true
		}
	}
	return false
}

func (p *push) pause(ctx context.Context, err error, broken int) error {
	wait := p.o.Backoff << (broken - 1)
	var busy *busyError
	if errors.As(err, &busy) {
		wait = max(wait, busy.after)
	}
	if wait > time.Minute {
		return err
	}
	p.o.Logger.Info("upload broke off, going on", "blob", p.b.Digest, "at", p.offset, "pause", wait, "error", err)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// busyError is an answer that says when to come again.
type busyError struct {
	error
	after time.Duration
}

func (e *busyError) Unwrap() error { return e.error }

// do sends a request and wants one of the codes.
func (p *push) do(ctx context.Context, method string, to *url.URL, body io.Reader, size int64, header http.Header, codes ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.ContentLength = size
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := rtransport.CheckError(resp, codes...); err != nil {
		return nil, &busyError{err, resume.RetryAfter(resp.Header, time.Now())}
	}
	return resp, nil
}

func (p *push) url(path string, query url.Values) *url.URL {
	repository := p.ref.Context()
	return &url.URL{
		Scheme: "https", Host: repository.RegistryStr(), RawQuery: query.Encode(),
		Path: "/v2/" + repository.RepositoryStr() + "/blobs/" + path,
	}
}

func (p *push) isThere(ctx context.Context) (bool, error) {
	resp, err := p.do(ctx, http.MethodHead, p.url(string(p.b.Digest), nil), nil, 0, nil, http.StatusOK, http.StatusNotFound)
	return err == nil && resp.StatusCode == http.StatusOK, err
}

// begin starts an upload, or has the registry mount the blob.
func (p *push) begin(ctx context.Context) (mounted bool, err error) {
	query := url.Values{}
	if p.from != nil {
		query.Set("mount", string(p.b.Digest))
		query.Set("from", (*p.from).Context().RepositoryStr())
	}
	resp, err := p.do(ctx, http.MethodPost, p.url("uploads/", query), nil, 0, nil, http.StatusCreated, http.StatusAccepted)
	if err != nil || resp.StatusCode == http.StatusCreated {
		return err == nil, err
	}
	p.offset = 0
	p.begun++
	if n, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil && n > chunkSize {
		p.chunk = n
	}
	return false, p.follow(resp)
}

// follow notes where the upload goes on, for a process after this one too.
func (p *push) follow(resp *http.Response) error {
	at, err := resp.Location()
	if err != nil {
		return fmt.Errorf("the registry does not say where to upload: %w", err)
	}
	p.at = at
	if file := p.file(); file != "" && p.b.Size > chunkSize {
		raw, err := json.Marshal(upload{at.String()})
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		return atomicfile.WriteFile(file, raw, 0o600) // some registries put a token into it
	}
	return nil
}

// An upload is what is kept of one that is under way.
type upload struct {
	Location string `json:"location"`
}

// file is where that is kept: by registry, repository and blob.
func (p *push) file() string {
	if p.o.Uploads == "" {
		return ""
	}
	key := oci.SHA256([]byte(p.ref.Context().String() + "@" + string(p.b.Digest)))
	return filepath.Join(p.o.Uploads, key.Hex())
}

func (p *push) forget() {
	if file := p.file(); file != "" {
		_ = os.Remove(file)
	}
}

// takeUp finds the upload that an earlier process left.
func (p *push) takeUp(ctx context.Context) bool {
	raw, err := os.ReadFile(p.file())
	var u upload
	if err != nil || json.Unmarshal(raw, &u) != nil {
		return false
	}
	if p.at, err = url.Parse(u.Location); err != nil || p.at.Host != p.ref.Context().RegistryStr() {
		return false
	}
	return p.status(ctx) == nil
}

// status asks how much of the upload the registry has.
func (p *push) status(ctx context.Context) error {
	resp, err := p.do(ctx, http.MethodGet, p.at, nil, 0, nil, http.StatusNoContent, http.StatusOK)
	if err != nil {
		return err
	}
	if p.offset, err = parseRange(resp.Header.Get("Range")); err != nil {
		return err
	}
	if p.offset > p.b.Size {
		return fmt.Errorf("the registry has %d bytes of %d", p.offset, p.b.Size)
	}
	if resp.Header.Get("Location") == "" {
		return nil
	}
	return p.follow(resp)
}

// parseRange reads "0-END", END being the last byte there is. With none there
// is no way to say so; registries answer "0-0", or "0--1".
func parseRange(word string) (size int64, err error) {
	_, end, ok := strings.Cut(strings.TrimPrefix(word, "bytes="), "-")
	last, err := strconv.ParseInt(end, 10, 64)
	if !ok || err != nil || last < -1 {
		return 0, fmt.Errorf("the registry says range %.40q: want 0-END", word)
	}
	if last == 0 {
		return 0, nil
	}
	return last + 1, nil
}

// send sends the rest in chunks, and then the blob's name.
func (p *push) send(ctx context.Context) error {
	r, err := p.b.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, p.offset); err != nil { // read again, for its digest
		return err
	}
	p.b.skip(p.offset)
	for p.offset < p.b.Size {
		if err := p.sendChunk(ctx, r); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // only its end tells whether it was what its digest names
		return err
	}
	last := *p.at
	query := last.Query()
	query.Set("digest", string(p.b.Digest))
	last.RawQuery = query.Encode()
	_, err = p.do(ctx, http.MethodPut, &last, http.NoBody, 0, nil, http.StatusCreated, http.StatusNoContent)
	return err
}

func (p *push) sendChunk(ctx context.Context, r io.Reader) error {
	size := min(max(p.chunk, chunkSize), p.b.Size-p.offset)
	body := &noting{r: io.LimitReader(r, size)}
	header := http.Header{"Content-Range": {fmt.Sprintf("%d-%d", p.offset, p.offset+size-1)}}
	resp, err := p.do(ctx, http.MethodPatch, p.at, io.NopCloser(body), size, header, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
	if body.err != nil {
		return body.err // the blob itself cannot be read: no fault of the registry's
	}
	if err != nil {
		return err
	}
	p.offset += size
	return p.follow(resp)
}

// noting keeps the error of what is read.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	count, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return count, err
}

// login gives a client that the registry knows, for scopes.
func login(ctx context.Context, repository name.Repository, o Options, scopes ...string) (*http.Client, error) {
	base, err := o.roundTripper()
	if err != nil {
		return nil, err
	}
	auth, err := o.Keychain.Resolve(repository)
	if err != nil {
		return nil, err
	}
	t, err := rtransport.NewWithContext(ctx, repository.Registry, auth, rtransport.NewUserAgent(base, "holdfast"), scopes)
	return &http.Client{Transport: t}, err
}
