package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"gopkg.in/yaml.v3"
)

// An object is as much of one as says where it lies.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
}

// path of the object. Every kind that bring-up applies has the plural that
// English gives it, but for these.
func (o object) path() (string, error) {
	if o.APIVersion == "" || o.Kind == "" || o.Metadata.Name == "" {
		return "", errors.New("a manifest: want apiVersion, kind and metadata.name")
	}
	root := "/apis/" + o.APIVersion
	if !strings.Contains(o.APIVersion, "/") {
		root = "/api/" + o.APIVersion
	}
	plural := strings.ToLower(o.Kind) + "s"
	switch {
	case strings.HasSuffix(o.Kind, "Class"):
		plural = strings.ToLower(o.Kind) + "es"
	case strings.HasSuffix(o.Kind, "Policy"):
		plural = strings.TrimSuffix(strings.ToLower(o.Kind), "y") + "ies"
	}
	if o.Metadata.Namespace != "" {
		plural = "namespaces/" + url.PathEscape(o.Metadata.Namespace) + "/" + plural
	}
	return root + "/" + plural + "/" + url.PathEscape(o.Metadata.Name), nil
}

// An Ask is one request.
type Ask = func(context.Context) error

// IsWrong says whether the server will never take what it was asked for.
func IsWrong(err error) bool {
	var said *StatusError
	return errors.As(err, &said) && (said.Code == http.StatusBadRequest || said.Code == http.StatusUnprocessableEntity)
}

// Apply makes the objects of a YAML stream as they are written there, and says
// that holdfast wants these fields so (server-side apply). Each object is asked
// for by try, which may ask again.
func (c *Client) Apply(manifests []byte, try func(Ask) error) error {
	d := yaml.NewDecoder(bytes.NewReader(manifests))
	for {
		var doc yaml.Node
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if err := c.applyOne(&doc, try); err != nil {
			return err
		}
	}
}

func (c *Client) applyOne(doc *yaml.Node, try func(Ask) error) error {
	var o object
	if err := doc.Decode(&o); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	path, err := o.path()
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := doc.Decode(&fields); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	raw, err := json.Marshal(fields) // which is YAML, too; an audit log can hold only JSON
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	err = try(func(ctx context.Context) error {
		return c.do(ctx, http.MethodPatch, path+"?fieldManager=holdfast&force=true", "application/apply-patch+yaml", raw, nil)
	})
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", o.Kind, o.Metadata.Name, err)
	}
	return nil
}
