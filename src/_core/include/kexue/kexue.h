/* kexue: the whole public C interface. */
#ifndef KEXUE_H
#define KEXUE_H

#include "kx_base.h"
#include "kx_ctx.h"

#include "kx_activations.h"
#include "kx_alignment.h"
#include "kx_attention.h"
#include "kx_child_tuning.h"
#include "kx_classification.h"
#include "kx_documents.h"
#include "kx_entropy.h"
#include "kx_gaussians.h"
#include "kx_gradient_clipping.h"
#include "kx_hamming.h"
#include "kx_independence.h"
#include "kx_independence_matrices.h"
#include "kx_layer_norm.h"
#include "kx_linear_attention.h"
#include "kx_lookahead.h"
#include "kx_losses.h"
#include "kx_losses_combinatorial.h"
#include "kx_losses_contrastive.h"
#include "kx_losses_ranking.h"
#include "kx_prefix_tree.h"
#include "kx_projection.h"
#include "kx_random.h"
#include "kx_recurrent.h"
#include "kx_sinkhorn.h"
#include "kx_smoothing.h"
#include "kx_softmax.h"
#include "kx_transport.h"
#include "kx_vector_math.h"
#include "kx_walsh_hadamard.h"

#endif
