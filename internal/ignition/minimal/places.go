package minimal

import (
	"fmt"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// writable are the folders that a machine writes to; the links among them lead
// into /var.
var writable = []string{"/etc", "/var", "/home", "/root", "/opt", "/srv", "/mnt", "/usr/local", "/run", "/tmp"}

// overlaid are those of them that are there before anything is mounted.
var overlaid = []string{"/etc", "/var"}

func places(c types.Config) (list []Issue) {
	for i, n := range c.Storage.Directories {
		list = append(list, place(n.Path, writable, "directories", i)...)
	}
	for i, n := range c.Storage.Files {
		list = append(list, place(n.Path, writable, "files", i)...)
	}
	for i, n := range c.Storage.Links {
		list = append(list, place(n.Path, writable, "links", i)...)
	}
	for i, n := range c.Storage.Filesystems {
		if util.NotEmpty(n.Path) {
			list = append(list, place(*n.Path, overlaid, "filesystems", i)...)
		}
	}
	return list
}

func place(p string, allowed []string, kind string, i int) []Issue {
	for _, folder := range allowed {
		if strings.HasPrefix(path.Clean(p)+"/", folder+"/") {
			return nil
		}
	}
	text := fmt.Sprintf("%.80s is on the machine image's own root, which is read-only: want a place below %s", p, strings.Join(allowed, ", "))
	return []Issue{{Path: at("storage", kind, i, "path"), Problem: text}}
}

// sources wants each byte by its hash, or from somebody with a key.
func sources(c types.Config) []Issue { return eachSource(reflect.ValueOf(c), nil) }

func eachSource(v reflect.Value, at []any) (list []Issue) {
	if r, ok := v.Interface().(types.Resource); ok {
		return source(r, at)
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field, inner := v.Type().Field(i), at
			if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag != "" {
				inner = append(slices.Clone(at), tag)
			}
			list = append(list, eachSource(v.Field(i), inner)...)
		}
	case reflect.Slice:
		for i := range v.Len() {
			list = append(list, eachSource(v.Index(i), append(slices.Clone(at), i))...)
		}
	}
	return list
}

func source(r types.Resource, at []any) []Issue {
	if r.Source == nil || util.NotEmpty(r.Verification.Hash) {
		return nil
	}
	u, err := url.Parse(*r.Source)
	if err != nil || u.Scheme != "http" && u.Scheme != "tftp" {
		return nil
	}
	text := u.Scheme + " proves nothing of what it sends: want a verification.hash, or https"
	return []Issue{{Path: append(slices.Clone(at), "source"), Problem: text}}
}
