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
	t := &Target{Dir: dir, Name: f.Name.Name, Parser: parsersOf(dir, f.Doc)}
	if len(t.Parser) == 0 {
		return nil, fmt.Errorf("names no parser: want a line %sFILE… in its comment", directive)
	}
	h := sha256.New()
	for _, code := range append(t.Parser, Code{File: filepath.Join(dir, filepath.Base(path)), Funcs: []string{t.Name}}) {
		decls, _, err := c.decls(code)
		if err != nil {
			return nil, err
		}
		for _, d := range decls {
			var text bytes.Buffer
			if err := format.Node(&text, token.NewFileSet(), d); err != nil {
				return nil, err
			}
			h.Write(text.Bytes())
		}
	}
	t.Hash = hex.EncodeToString(h.Sum(nil)[:8])
	return t, nil
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
	if len(missing) > 0 || len(list) == 0 {
		return nil, nil, fmt.Errorf("%s has no function %s", code.File, strings.Join(missing, ", "))
	}
	return list, set, nil
}
