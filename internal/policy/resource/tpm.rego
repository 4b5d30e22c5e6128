# Devices that a TPM speaks for: their image is what PCR 11 says.
package policy

import rego.v1

running contains name if {
	some name, submod in input.submods
	data.images[submod[evidence].tpm.pcr11].status == "trusted"
}

shown_images contains submod[evidence].tpm.pcr11 if some submod in input.submods
