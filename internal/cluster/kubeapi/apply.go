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
	"time"

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

// Apply makes the objects of a YAML stream as they are written there, and says
// that holdfast wants these fields so (server-side apply).
func (c *Client) Apply(ctx context.Context, manifests []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(manifests))
	for {
		var doc yaml.Node
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if err := c.applyOne(ctx, &doc); err != nil {
			return err
		}
	}
}

func (c *Client) applyOne(ctx context.Context, doc *yaml.Node) error {
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
	err = steadily(ctx, func() error {
		return c.do(ctx, http.MethodPatch, path+"?fieldManager=holdfast&force=true", "application/apply-patch+yaml", raw, nil)
	})
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", o.Kind, o.Metadata.Name, err)
	}
	return nil
}

// patience is how long a server that has just begun may turn away what it will
// take later.
const patience, pause = 30 * time.Second, 500 * time.Millisecond

// steadily does again what can be done again, unless the server said that it is
// wrong.
func steadily(ctx context.Context, do func() error) error {
	for end := time.Now().Add(patience); ; {
		err := do()
		var said *StatusError
		isWrong := errors.As(err, &said) && said.Code < http.StatusInternalServerError && said.Code != http.StatusTooManyRequests
		if err == nil || isWrong || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
