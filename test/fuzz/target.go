package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

const directive = "//fuzz:parser "

// A Target is a fuzz function and the parser that it attacks.
type Target struct {
	Dir    string // of its package, below the root
	Name   string
	Parser []Code
	Hash   string // of the parser and the target, without comments
	Params string // types of an input's values, as "[]byte string"
}

// Code is a source file, or some of its functions.
type Code struct {
	File  string   // below the root
	Funcs []string // all when empty
}

// Key names a target in the record.
func (t *Target) Key() string { return t.Dir + " " + t.Name }

// targets finds every fuzz function below internal.
func (c *config) targets() ([]*Target, error) {
	var list []*Target
	err := filepath.WalkDir(filepath.Join(c.root, "internal"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		found, err := c.inFile(path)
		list = append(list, found...)
		return err
	})
	list = slices.DeleteFunc(list, func(t *Target) bool { return !c.only.MatchString(t.Key()) })
	return list, err
}

func (c *config) inFile(path string) ([]*Target, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var list []*Target
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Fuzz") {
			continue
		}
		t, err := c.target(path, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, f.Name.Name, err)
		}
		list = append(list, t)
	}
	return list, nil
}

func (c *config) target(path string, f *ast.FuncDecl) (*Target, error) {
	dir, err := filepath.Rel(c.root, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	t := &Target{Dir: dir, Name: f.Name.Name, Parser: parsersOf(dir, f.Doc), Params: paramsOf(f)}
	if len(t.Parser) == 0 {
		if t.Parser, err = c.whole(dir); err != nil {
			return nil, err
		}
	}
	h := sha256.New()
	for _, code := range append(t.Parser, Code{File: filepath.Join(dir, filepath.Base(path)), Funcs: []string{t.Name}}) {
		decls, _, err := c.decls(code)
		if err != nil {
			return nil, err
		}
		for _, d := range decls {
			h.Write([]byte(show(d)))
		}
	}
	t.Hash = hex.EncodeToString(h.Sum(nil)[:8])
	return t, nil
}

// paramsOf looks at the function that a target gives to Fuzz: the one whose
// first parameter is a *testing.T.
func paramsOf(f *ast.FuncDecl) string {
	var types []string
	ast.Inspect(f, func(n ast.Node) bool {
		fn, ok := n.(*ast.FuncLit)
		if !ok || len(fn.Type.Params.List) == 0 || show(fn.Type.Params.List[0].Type) != "*testing.T" {
			return true
		}
		for _, p := range fn.Type.Params.List[1:] {
			for range p.Names {
				types = append(types, strings.Replace(show(p.Type), "uint8", "byte", 1))
			}
		}
		return false
	})
	return strings.Join(types, " ")
}

func show(n ast.Node) string {
	var b bytes.Buffer
	_ = format.Node(&b, token.NewFileSet(), n) // of a node that was parsed
	return b.String()
}

func parsersOf(dir string, doc *ast.CommentGroup) []Code {
	var list []Code
	if doc == nil {
		return nil
	}
	for _, line := range doc.List {
		words, ok := strings.CutPrefix(line.Text, directive)
		if !ok {
			continue
		}
		for _, word := range strings.Fields(words) {
			file, funcs, some := strings.Cut(word, ":")
			code := Code{File: filepath.Join(dir, file)}
			if some {
				code.Funcs = strings.Split(funcs, ",")
			}
			list = append(list, code)
		}
	}
	return list
}

// whole is the package of a target that names no part of it.
func (c *config) whole(dir string) ([]Code, error) {
	files, err := filepath.Glob(filepath.Join(c.root, dir, "*.go"))
	var list []Code
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			list = append(list, Code{File: filepath.Join(dir, filepath.Base(f))})
		}
	}
	return list, err
}

// decls gives the functions that code names, without their comments.
func (c *config) decls(code Code) ([]*ast.FuncDecl, *token.FileSet, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, filepath.Join(c.root, code.File), nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	var list []*ast.FuncDecl
	missing := slices.Clone(code.Funcs)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || (len(code.Funcs) > 0 && !slices.Contains(code.Funcs, f.Name.Name)) {
			continue
		}
		list = append(list, f)
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == f.Name.Name })
	}
	if len(missing) > 0 {
		return nil, nil, fmt.Errorf("%s has no function %s", code.File, strings.Join(missing, ", "))
	}
	return list, set, nil
}
