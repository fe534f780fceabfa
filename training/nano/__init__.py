"""The recipe of `nano`, the embedded model: a tiny dual encoder in open_clip's format, made without an image-text pair.

CLIP [1] learns both towers from hundreds of millions of captioned pictures. This recipe starts from the other end, as
DeViSE [2] and ConSE [3] did: an image classifier exists, so its classes get places in a vector space, and a text
encoder learns to find these places from words.

- **Space** (`space`): one unit vector per ImageNet class. Their Gram matrix mixes identity (tell classes apart),
  similarity in WordNet [4, 5] (a husky is a dog is an animal) and similarity of the classifier's own weights.
- **Image tower** (`image_tower`): EfficientNet-Lite0 [6] with its ImageNet classifier, which fits into the two-layer
  head that open_clip puts on timm models. As in ConSE an image's vector is the sum of the class vectors, weighted by
  the evidence for each class. Nothing here is trained.
- **Text tower** (`train_text`): a small transformer in CLIP's architecture with CLIP's tokens. It is trained to map
  text to a target vector. The pairs of text and target come from `phrases`: class names have their class's vector,
  the WordNet nouns above them ("dog", "vehicle") the mean of the classes below, photo-library words ("wedding") a
  hand-made mixture (`lexicon`), and all other nouns and words a mixture of the nearest of the former, as judged by a
  sentence encoder (`teacher`: MiniLM [7, 8]). `sampling` wraps them in templates.

Sources:
    [1] Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
    [2] Frome et al., "DeViSE: A Deep Visual-Semantic Embedding Model", 2013.
    [3] Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", 2014.
    [4] Fellbaum (ed.), "WordNet: An Electronic Lexical Database", 1998.
    [5] Barz and Denzler, "Hierarchy-Based Image Embeddings for Semantic Image Retrieval", 2019.
    [6] Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019; the Lite variants
        (no squeeze-and-excitation, ReLU6) were published with its TensorFlow code in 2020.
    [7] Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression", 2020.
    [8] Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", 2019.
"""
