package confidential

import (
	"errors"
	"testing"

	"holdfast/internal/api"
)

// Whatever a manifest is, it is refused or sealed; and what is sealed is a pod that a
// machine takes.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(deployment))
	f.Add([]byte("kind: Pod\nspec: &a {containers: [{name: a, image: i, env: [{name: A, valueFrom: {secretKeyRef: {}}}]}]}\n---\nkind: Pod\nspec: {x: 1}\n"))
	f.Add([]byte("kind: Pod\nspec: {containers: [{name: a, image: i, resources: {limits: {memory: 1e3}}}], volumes: [{name: v, emptyDir: {sizeLimit: 9223372036854775807Ti}}]}\n"))
	f.Add([]byte("kind: Secret\nmetadata: {name: s}\nstringData: {a: sealed.x.y.z}\ndata: {b: YQ==}\n---\nkind: Pod\nspec: {containers: [{name: a, image: i, tty: true, envFrom: [{secretRef: {name: s}}], livenessProbe: {exec: {command: [x]}}}], volumes: [{name: v, projected: {sources: [{secret: {name: s, items: [{key: a, path: b}]}}]}}]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		maps, err := m.ConfigMaps()
		if err != nil {
			return
		}
		secrets, err := m.Secrets()
		if err != nil {
			return
		}
		_, err = m.Seal(Settings{ConfigMaps: maps, SealedSecrets: secrets, Image: settings.Image}, func(p *api.Pod) ([]byte, error) {
			if err := p.Check(); err != nil {
				t.Fatalf("sealed: %v", err)
			}
			return []byte("document"), errors.Join()
		})
		if err != nil {
			return
		}
		if _, err := m.Text(); err != nil {
			t.Fatalf("sealed, and cannot be written: %v", err)
		}
	})
}
