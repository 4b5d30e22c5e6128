package provision

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"reflect"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

// StateLabel is the label of the file system that keeps what a machine writes
// to /etc and /var.
const StateLabel = "state"

// Check refuses, before anything boots, what a machine image cannot be made to
// do. An error names the field.
func Check(name string, c types.Config) error {
	for _, check := range []func(types.Config) error{checkArguments, checkUnits, checkPlaces, checkSources, checkState} {
		if err := check(c); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func checkArguments(c types.Config) error {
	if len(c.KernelArguments.ShouldExist)+len(c.KernelArguments.ShouldNotExist) > 0 {
		return ignition.At(errors.New("the kernel's command line is signed with the machine image: its recipe says what is in it"), "$.kernelArguments")
	}
	return nil
}

// writable are the folders that a machine writes to; the links among them lead
// into /var.
var writable = []string{"/etc", "/var", "/home", "/root", "/opt", "/srv", "/mnt", "/usr/local", "/run", "/tmp"}

func checkPlaces(c types.Config) error {
	at := func(err error, kind string, i int) error { return ignition.At(err, "$.storage.%s[%d].path", kind, i) }
	for i, n := range c.Storage.Directories {
		if err := checkPlace(n.Path, writable); err != nil {
			return at(err, "directories", i)
		}
	}
	for i, n := range c.Storage.Files {
		if err := checkPlace(n.Path, writable); err != nil {
			return at(err, "files", i)
		}
	}
	for i, n := range c.Storage.Links {
		if err := checkPlace(n.Path, writable); err != nil {
			return at(err, "links", i)
		}
	}
	for i, n := range c.Storage.Filesystems {
		if !util.NotEmpty(n.Path) {
			continue
		}
		if err := checkPlace(*n.Path, overlaid); err != nil {
			return at(err, "filesystems", i)
		}
	}
	return nil
}

func checkPlace(place string, allowed []string) error {
	for _, folder := range allowed {
		if strings.HasPrefix(path.Clean(place)+"/", folder+"/") {
			return nil
		}
	}
	return fmt.Errorf("%.80s is on the machine image's own root, which is read-only: want a place below %s", place, strings.Join(allowed, ", "))
}

// checkSources wants each byte by its hash, or from somebody with a key.
func checkSources(c types.Config) error { return eachSource(reflect.ValueOf(c), "$") }

func eachSource(v reflect.Value, at string) error {
	if r, ok := v.Interface().(types.Resource); ok {
		return checkSource(r, at)
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field, inner := v.Type().Field(i), at
			if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag != "" {
				inner += "." + tag
			}
			if err := eachSource(v.Field(i), inner); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := eachSource(v.Index(i), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSource(r types.Resource, at string) error {
	if r.Source == nil || util.NotEmpty(r.Verification.Hash) {
		return nil
	}
	u, err := url.Parse(*r.Source)
	if err == nil && (u.Scheme == "http" || u.Scheme == "tftp") {
		return ignition.At(fmt.Errorf("%s proves nothing of what it sends: want a verification.hash, or https", u.Scheme), "%s.source", at)
	}
	return nil
}
