package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	perPage  = 100
	maxPages = 200     // of the catalog that a search looks through
	maxBody  = 8 << 20 // of an answer of the API
	maxWait  = 10 * time.Second
	maxPage  = 30 * time.Second // for all that a page asks for: each may ask peers and other registries
)

// A registryError is an error that the registry answered with.
type registryError struct {
	Status  int
	Message string
}

func (e *registryError) Error() string { return e.Message }

// A reader asks the registry on behalf of the person behind a request.
type reader struct {
	ctx      context.Context
	registry http.Handler
	asker    *http.Request
}

func (s *Site) reader(q *http.Request) *reader {
	return &reader{ctx: q.Context(), registry: s.Registry, asker: q}
}

// get asks for a path of the API; the header of the answer tells what it is.
func (r *reader) get(path string, query url.Values) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(r.ctx, maxWait)
	defer cancel()
	u := url.URL{Path: path, RawQuery: query.Encode()}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	q.Host, q.RemoteAddr, q.TLS = r.asker.Host, r.asker.RemoteAddr, r.asker.TLS
	q.Header.Set("Accept", strings.Join([]string{
		v1.MediaTypeImageIndex, v1.MediaTypeImageManifest,
		"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
	}, ", "))
	for _, name := range []string{"Authorization", "X-Forwarded-For", "X-Forwarded-Proto"} { // who asks, and through which proxy
		if values := r.asker.Header.Values(name); len(values) > 0 {
			q.Header[name] = values
		}
	}
	w := httptest.NewRecorder()
	r.registry.ServeHTTP(&bounded{ResponseRecorder: w}, q)
	if w.Code != http.StatusOK {
		return nil, nil, refused(w)
	}
	if w.Body.Len() >= maxBody {
		return nil, nil, fmt.Errorf("%s: the answer has more than %d bytes", path, maxBody)
	}
	return w.Body.Bytes(), w.Header(), nil
}

// bounded drops what nobody could look at.
type bounded struct{ *httptest.ResponseRecorder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Body.Len() < maxBody {
		b.ResponseRecorder.Write(p[:min(len(p), maxBody-b.Body.Len())])
	}
	return len(p), nil
}

func refused(w *httptest.ResponseRecorder) error {
	var said struct{ Errors []struct{ Message string } }
	if w.Code == http.StatusNotFound {
		return errNotFound
	}
	if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || len(said.Errors) == 0 {
		return &registryError{w.Code, http.StatusText(w.Code)}
	}
	return &registryError{w.Code, said.Errors[0].Message}
}

// list asks for a page of names, and for the name to go on after.
func (r *reader) list(path, field, last string, n int) (names []string, next string, err error) {
	query := url.Values{"n": {fmt.Sprint(n)}}
	if last != "" {
		query.Set("last", last)
	}
	raw, header, err := r.get(path, query)
	if err != nil {
		return nil, "", err
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(answer[field], &names); err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	if header.Get("Link") != "" && len(names) > 0 {
		next = names[len(names)-1]
	}
	return names, next, nil
}

// repositories are those whose names have match in them, after one.
func (r *reader) repositories(match, after string) (found []string, next string, err error) {
	for range maxPages {
		names, more, err := r.list("/v2/_catalog", "repositories", after, perPage)
		if err != nil {
			return nil, "", err
		}
		for _, name := range names {
			if strings.Contains(name, match) {
				found = append(found, name)
			}
		}
		if after = more; more == "" || len(found) >= perPage {
			break
		}
	}
	return found, after, nil
}

// A manifest with what names it.
type manifest struct {
	Digest, MediaType string
	Raw               []byte
	v1.Index          // has the fields of both
	Config            v1.Descriptor
	Layers            []v1.Descriptor
}

func (r *reader) manifest(repository, reference string) (*manifest, error) {
	raw, header, err := r.get("/v2/"+repository+"/manifests/"+reference, nil)
	if err != nil {
		return nil, err
	}
	m := &manifest{Digest: header.Get("Docker-Content-Digest"), MediaType: header.Get("Content-Type"), Raw: raw}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", reference, err)
	}
	return m, nil
}

// size is what a client pulls, but for manifests below this one.
func (m *manifest) size() int64 {
	n := int64(len(m.Raw)) + m.Config.Size
	for _, l := range m.Layers {
		n += l.Size
	}
	return n
}

func (r *reader) referrers(repository, digest string) ([]v1.Descriptor, error) {
	raw, _, err := r.get("/v2/"+repository+"/referrers/"+digest, nil)
	if errors.Is(err, errNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index v1.Index
	return index.Manifests, json.Unmarshal(raw, &index)
}

// pretty indents JSON for reading; what is long is cut.
func pretty(raw []byte) string {
	const most = 64 << 10
	var out bytes.Buffer
	if len(raw) > most || json.Indent(&out, raw, "", "  ") != nil {
		return strings.ToValidUTF8(string(raw[:min(len(raw), most)]), "�")
	}
	return out.String()
}
