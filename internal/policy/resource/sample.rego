# Test evidence says nothing of images: who is believed by it may have what the
# configuration may.
package policy

import rego.v1

running contains name if {
	some name, submod in input.submods
	submod[evidence].sample.warning
}
