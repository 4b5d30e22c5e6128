package web

import (
	"net/http"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A list is a page of names and where the next one begins.
type list struct {
	Names []string
	Next  string
}

func (s *Site) overview(q *http.Request) (any, error) {
	v := q.URL.Query()
	names, next, err := s.reader(q).repositories(v.Get("q"), v.Get("after"))
	return list{names, next}, err
}

// A repositoryPage shows the tags of a repository.
type repositoryPage struct {
	Name string
	Tags []tag
	Next string
}

type tag struct {
	Name, Digest, Kind string
	Size               int64
	Encrypted          bool
	Referrers          int
	Problem            string
}

// rows is how many tags a page describes; each costs two reads.
const rows = 50

func (s *Site) repository(q *http.Request) (any, error) {
	r, name := s.reader(q), q.PathValue("name")
	tags, next, err := r.list("/v2/"+name+"/tags/list", "tags", q.URL.Query().Get("after"), rows)
	if err != nil {
		return nil, err
	}
	p := repositoryPage{Name: name, Next: next}
	for _, t := range tags {
		p.Tags = append(p.Tags, r.tag(name, t))
	}
	return p, nil
}

func (r *reader) tag(repository, name string) tag {
	m, err := r.manifest(repository, name)
	if err != nil {
		return tag{Name: name, Problem: err.Error()}
	}
	t := tag{Name: name, Digest: m.Digest, Kind: kindOf(m.MediaType, m.ArtifactType), Size: m.size()}
	for _, l := range m.Layers {
		t.Encrypted = t.Encrypted || strings.HasSuffix(l.MediaType, "+encrypted")
	}
	if list, err := r.referrers(repository, m.Digest); err == nil {
		t.Referrers = len(list)
	}
	return t
}

// An imagePage shows one manifest and the tree around it.
type imagePage struct {
	Name, Reference string
	*manifest
	Size   int64
	Layers []layer
	Tree   *branch
	Cut    bool // the tree is larger than what is drawn
	Text   string
}

type layer struct {
	v1.Descriptor
	Words string
}

// image shows NAME@DIGEST or NAME:TAG.
func (s *Site) image(q *http.Request) (any, error) {
	name, reference := split(q.PathValue("name"))
	if reference == "" {
		return nil, errNotFound
	}
	r := s.reader(q)
	m, err := r.manifest(name, reference)
	if err != nil {
		return nil, err
	}
	p := imagePage{Name: name, Reference: reference, manifest: m, Size: m.size(), Text: pretty(m.Raw)}
	for _, l := range m.Layers {
		p.Layers = append(p.Layers, layer{l, layerWords(l.MediaType)})
	}
	g := grower{reader: r, repository: name, left: maxBranches}
	p.Tree, err = g.grow(m, "", 0)
	p.Cut = g.left <= 0
	return p, err
}

// split takes the reference off a name; a digest has a colon of its own.
func split(s string) (name, reference string) {
	if name, digest, ok := strings.Cut(s, "@"); ok {
		return name, digest
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}
